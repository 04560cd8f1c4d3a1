"""Texts through the ``encode_prompt`` of a family's own pipeline class; the encoders leave memory afterwards."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from ...utils.errors import UserError
from ...utils.kept import Kept
from ..condition import Condition
from ..loading.text_files import text_files
from .kept_texts import KeptTexts, from_tensors, to_tensors
from .text_encoders import TextEncoders

# Those of FLUX.1 take 4 MB each in half precision.
_MAX_CACHED = 1024
_BATCH_SIZE = 8


class PipelineTexts(TextEncoders):
    """Conditions of texts, as the pipeline of a family makes them; no prompt format is written again.

    Args:
        model (LatentModel): Of a family. Its ``text_pipeline()`` gives the pipeline with tokenizers and text encoders,
            ``encode_texts(pipeline, texts, device)`` a :class:`Condition`, of which masked tokens are dropped, and
            ``text_limits(pipeline)`` pairs of a tokenizer and the tokens of a text that are not cut off.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model
        self._conditions = Kept(_MAX_CACHED)

    def embed(self, texts: Sequence[str]) -> Condition:
        """The condition of images with these prompts.

        Args:
            texts (Sequence[str]): n prompts; the empty one is allowed.

        Returns:
            Condition: Of n rows, on the CPU, in the dtype of the text encoders.

        Raises:
            ValueError: A prompt is longer than the text encoders take, or a part of them is missing.
        """
        return Condition.cat(self._conditions.get(texts, self._embedded))

    def _embedded(self, texts: list[str]) -> Iterator[Condition]:
        kept = self._on_disk.get(texts, lambda missing: map(to_tensors, self._encode(missing)))
        return map(from_tensors, kept)

    @cached_property
    def _on_disk(self) -> KeptTexts:
        source = self._model._components
        kind = f'{type(self._model).__name__} {source.dtype} {source.variant}'
        return KeptTexts(partial(text_files, source.source, source.revision), kind)

    def averaged(self, groups: Sequence[Sequence[str]]) -> Tensor:
        """Not for these text encoders, whose tokens do not stand for a text alone.

        Raises:
            ValueError: Always, with the mend.
        """
        raise UserError(
            f'ClassNames needs a model of one CLIP text encoder (Stable Diffusion 1.x or 2.x), but '
            f"{self._model.source!r} is told sentences: take dict(type='Prompt', text=...)"
        )

    def check_lengths(self, texts: Sequence[str]) -> None:
        """Count the tokens of texts without encoding them.

        Args:
            texts (Sequence[str]): Prompts.

        Raises:
            ValueError: One is longer than the text encoders take.
        """
        self._check_lengths(self._load_once(), texts)

    def _check_lengths(self, pipeline: Any, texts: Sequence[str]) -> None:
        for tokenizer, limit in self._model.text_limits(pipeline):
            for text, ids in zip(texts, tokenizer(list(texts))['input_ids']):
                if len(ids) > limit:
                    raise UserError(
                        f'the prompt {text[:60]!r}... has {len(ids)} tokens, but the text encoder takes {limit}: '
                        'shorten it'
                    )

    def _load(self) -> Any:
        pipeline = self._model.text_pipeline()
        for name, encoder in pipeline.components.items():
            if name.startswith('text_encoder') and encoder is not None:
                self._check_vocabulary(name, encoder, getattr(pipeline, name.replace('text_encoder', 'tokenizer')))
        return pipeline

    def _check_vocabulary(self, name: str, encoder: Any, tokenizer: Any) -> None:
        known = encoder.get_input_embeddings().num_embeddings
        if len(tokenizer) > known:
            raise UserError(
                f'the {name} of {self._model.source} knows {known} tokens, but its tokenizer has {len(tokenizer)}: the '
                'two are of different models, give the folder as it was published'
            )

    @torch.no_grad()
    def _encode(self, texts: Sequence[str], encode: Callable[..., Condition] | None = None) -> Iterator[Condition]:
        """One row per text, by the model's ``encode_texts`` or what stands in for it."""
        pipeline, device, encode = self._load_once(), self._model.text_device(), encode or self._model.encode_texts
        self._check_lengths(pipeline, texts)
        for name, part in pipeline.components.items():
            if name.startswith('text_encoder') and part is not None:
                part.to(device)
        for start in range(0, len(texts), _BATCH_SIZE):
            batch = encode(pipeline, texts[start : start + _BATCH_SIZE], device)
            yield from batch.apply(Tensor.cpu).rows()
