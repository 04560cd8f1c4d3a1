"""CLIP's tokenizer with its vocabulary cut to what a set of captions needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..diffusion.conditions.clip_texts import clip_merges, clip_tokenizer
from ..utils.compat import new_clip_tokenizer
from ..utils.errors import UserError

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_START, _END = '<|startoftext|>', '<|endoftext|>'


def cut_tokenizer(captions: Iterable[str], max_length: int = 77) -> CLIPTokenizer:
    """A tokenizer that splits the given captions as CLIP does, with few tokens.

    All bytes stay in the vocabulary, so that any other text can be encoded too, in smaller pieces.

    Args:
        captions (Iterable[str]): What the vocabulary is cut to.
        max_length (int): Tokens that the text encoder takes. Default 77.

    Returns:
        CLIPTokenizer: 514 tokens (bytes, bytes that end a word, two markers) and one more for each
        merge of CLIP that the captions use.
    """
    words = sorted({caption for caption in captions if caption.strip()})
    letters, merges = _vocabulary(words, max_length)
    vocabulary = letters + [a + b for a, b in merges] + [_START, _END]
    return new_clip_tokenizer(vocabulary, merges, max_length)


def check_lengths(tokenizer: CLIPTokenizer, captions: Sequence[str], max_length: int) -> None:
    """Name a caption that is longer than the text encoder takes.

    Args:
        tokenizer (CLIPTokenizer): The tokenizer.
        captions (Sequence[str]): What it shall encode.
        max_length (int): Tokens that the text encoder takes, with both markers.

    Raises:
        ValueError: At least one is longer; the first is named.
    """
    captions = list(dict.fromkeys(captions))
    lengths = [len(ids) for ids in tokenizer(captions)['input_ids']] if captions else []
    long = [(text, n) for text, n in zip(captions, lengths) if n > max_length]
    if long:
        text, length = long[0]
        raise UserError(
            f'{len(long)} of {len(captions)} captions are longer than the {max_length} tokens that the text encoder '
            f'takes, the first has {length}: {text[:60]!r}...; shorten them, or set truncate_captions=True'
        )


def _vocabulary(captions: Sequence[str], max_length: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The 512 byte tokens, and CLIP's merges that the captions use, in CLIP's order."""
    full = clip_tokenizer(max_length)
    by_id = sorted(full.get_vocab().items(), key=lambda item: item[1])
    letters = [token for token, _ in by_id[:512]]
    if not captions:
        return letters, []
    made_by: dict[str, tuple[str, str]] = {}
    for pair in clip_merges():
        made_by.setdefault(''.join(pair), pair)
    needed: set[str] = set()
    open_tokens = {token for caption in captions for token in full.tokenize(caption)}
    while open_tokens:
        token = open_tokens.pop()
        if token in made_by and token not in needed:
            needed.add(token)
            open_tokens.update(made_by[token])
    return letters, [pair for token, pair in made_by.items() if token in needed]
