"""Texts by the one CLIP encoder of Stable Diffusion 1.x and 2.x: embedded once, and kept in memory and on disk."""

import gzip
import os.path as osp
from collections.abc import Callable, Iterator, Sequence

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.utils import track_iter_progress
from torch import Tensor

from ...utils.compat import new_clip_tokenizer
from ...utils.errors import NotInstalledError, UserError
from ...utils.kept import Kept
from ...utils.kept_on_disk import Tensors
from ..condition import Condition
from .kept_texts import KeptTexts
from .text_encoders import TextEncoders

# Enough for the prompts of a training run; embeddings of Stable Diffusion take 236 kB each.
_MAX_CACHED = 4096
_BATCH_SIZE = 64
# Short texts alone: a batch of as many tokens as 64 padded prompts of CLIP.
_TOKENS_AT_ONCE = 64 * 77
_WORTH_A_BAR = 2000


class TextEmbedder(TextEncoders):
    """CLIP embeddings of texts, loading the text encoder only while it is needed.

    Args:
        load (Callable): Takes nothing and gives ``(tokenizer, text encoder)``; called on first use
            and again after the encoder has left memory.
        device (Callable): Takes nothing and gives the device to encode on.
        on_disk (KeptTexts | None): Where embeddings are kept for later runs. Default None: nowhere.
    """

    def __init__(self, load: Callable, device: Callable, on_disk: KeptTexts | None = None) -> None:
        super().__init__()
        self._read = load
        self._device = device
        self._on_disk = on_disk or KeptTexts(list, '')
        self._sequences, self._averages = Kept(_MAX_CACHED), Kept(_MAX_CACHED)

    def sequences(self, texts: Sequence[str]) -> Tensor:
        """Embed each text as the U-Net was trained on it.

        Args:
            texts (Sequence[str]): n prompts; the empty one is allowed.

        Returns:
            Tensor: Last hidden states, shape (n, L, C), float32 on the CPU.

        Raises:
            ValueError: A prompt has more tokens than the text encoder takes.
        """
        return torch.stack(self._sequences.get(texts, self._embedded))

    def embed(self, texts: Sequence[str]) -> Condition:
        """The condition of images with these prompts, see :meth:`sequences`."""
        return Condition(self.sequences(texts))

    def averaged(self, groups: Sequence[Sequence[str]]) -> Tensor:
        """One vector per group of texts: the mean of the hidden states at their end-of-text tokens.

        Args:
            groups (Sequence[Sequence[str]]): g groups of prompts.

        Returns:
            Tensor: Shape (g, C), float32 on the CPU.

        Raises:
            ValueError: As :meth:`sequences`.
        """

        def encoded(missing: list[tuple[str, ...]]) -> Iterator[Tensors]:
            ends = self._encode_ends([text for group in missing for text in group])
            return (dict(mean=part.mean(0)) for part in ends.split([len(group) for group in missing]))

        def means(missing: list[tuple[str, ...]]) -> Iterator[Tensor]:
            named = {'\x1f'.join(('mean of', *group)): group for group in missing}
            kept = self._on_disk.get(list(named), lambda names: encoded([named[name] for name in names]))
            return (tensors['mean'] for tensors in kept)

        return torch.stack(self._averages.get([tuple(group) for group in groups], means))

    def _embedded(self, texts: list[str]) -> Iterator[Tensor]:
        kept = self._on_disk.get(texts, lambda missing: (dict(sequence=row) for row in self._encode(missing)))
        return (tensors['sequence'] for tensors in kept)

    def _load(self) -> tuple:
        return self._read()

    def check_lengths(self, texts: Sequence[str]) -> None:
        """Count the tokens of texts without encoding them.

        Args:
            texts (Sequence[str]): Prompts.

        Raises:
            ValueError: As :meth:`sequences`.
        """
        tokenizer, encoder = self._load_once()
        _token_lengths(tokenizer, encoder, texts)

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> Iterator[Tensor]:
        """Last hidden states (L, C) of every text, padded as the U-Net knows them."""
        tokenizer, encoder = self._load_once()
        _token_lengths(tokenizer, encoder, texts)
        ids = tokenizer(
            texts, padding='max_length', return_tensors='pt', max_length=encoder.config.max_position_embeddings
        )['input_ids']
        device = self._device()
        encoder.to(device)
        for rows in ids.split(_BATCH_SIZE):
            yield from encoder(rows.to(device))[0].cpu()

    @torch.no_grad()
    def _encode_ends(self, texts: list[str]) -> Tensor:
        """Hidden states (n, C) at the end-of-text tokens.

        CLIP's attention is causal, so what would follow the end cannot change it: texts of one
        length go together and nothing is padded, which takes a sixth of the time for class names.
        """
        tokenizer, encoder = self._load_once()
        lengths = torch.tensor(_token_lengths(tokenizer, encoder, texts))
        batches = [
            rows
            for length in lengths.unique().tolist()
            for rows in torch.where(lengths == length)[0].split(max(1, _TOKENS_AT_ONCE // length))
        ]
        if len(texts) >= _WORTH_A_BAR and is_main_process():
            print_log(f'Encoding {len(texts)} texts (class names in templates) once.', 'current')
            batches = track_iter_progress(batches)
        device = self._device()
        encoder.to(device)
        result = torch.empty(len(texts), encoder.config.hidden_size)
        for rows in batches:
            ids = tokenizer([texts[i] for i in rows.tolist()], return_tensors='pt')['input_ids']
            result[rows] = encoder(ids.to(device))[0][:, -1].float().cpu()
        return result


def _token_lengths(tokenizer, encoder, texts: Sequence[str]) -> list[int]:
    length = encoder.config.max_position_embeddings
    lengths = [len(row) for row in tokenizer(list(texts))['input_ids']]
    for text, tokens in zip(texts, lengths):
        if tokens > length:
            raise UserError(
                f'the prompt {text[:60]!r}... has {tokens} tokens, but the text encoder takes {length}: shorten it'
            )
    return lengths


def clip_tokenizer(max_length: int = 77, pad_token: str = '<|endoftext|>'):
    """OpenAI's CLIP tokenizer, built from the vocabulary that MMSegmentation ships.

    Needed for new models and for single-file checkpoints, which come without a tokenizer.

    Args:
        max_length (int): Tokens that the text encoder takes. Default 77.
        pad_token (str): What follows the end of a text. Default '<|endoftext|>', as for
            Stable Diffusion 1.x; 2.x was trained with '!', the token of number 0.

    Returns:
        transformers.CLIPTokenizer: 49408 tokens.

    Raises:
        ImportError: MMSegmentation is not installed.
    """
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    merges = clip_merges()
    letters = list(bytes_to_unicode().values())
    vocabulary = letters + [letter + '</w>' for letter in letters]
    vocabulary += [''.join(pair) for pair in merges] + ['<|startoftext|>', '<|endoftext|>']
    tokenizer = new_clip_tokenizer(vocabulary, merges, max_length)
    # Given above, '!' would become a special token, and be read as padding within a prompt.
    tokenizer.pad_token = pad_token
    return tokenizer


def clip_merges() -> list[tuple[str, str]]:
    """Which pairs of pieces CLIP's tokenizer joins, in its order.

    Raises:
        ImportError: MMSegmentation is not installed.
    """
    try:
        import mmseg
    except ImportError as error:
        raise NotInstalledError(
            "a new model and a single-file checkpoint have no tokenizer, and CLIP's "
            'vocabulary comes with MMSegmentation: `pip install mmsegmentation`, or '
            'use a diffusers folder, which has one'
        ) from error
    path = osp.join(osp.dirname(mmseg.__file__), 'utils', 'bpe_simple_vocab_16e6.txt.gz')
    with gzip.open(path, 'rt', encoding='utf-8') as file:
        lines = file.read().split('\n')
    # The first line is a header; CLIP uses the first 48894 merges: 49408 tokens less 512 letters
    # and two markers.
    pairs = (line.split() for line in lines[1 : 49152 - 256 - 2 + 1])
    return [(first, second) for first, second in pairs]
