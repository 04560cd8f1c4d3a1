"""What families have in common whose denoiser is a transformer on the latents of an image autoencoder."""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.compat import require_diffusers
from ..utils.errors import UserError
from .conditions.pipeline_texts import PipelineTexts
from .latent_model import LatentModel
from .loading.components import Components, FromFolder
from .loading.refusals import refuse_tiny_autoencoder
from .taps import FeatureTaps


class TransformerModel(FromFolder, LatentModel):
    """A transformer on latents, frozen. Subclasses say their taps, how texts are embedded and how it is called.

    Args:
        components (Components): Of its folder or hub id.

    Raises:
        ValueError: A part is missing, or its scheduler is of another kind.
        ImportError: diffusers is too old for the family.

    Attributes:
        since (str): Version of diffusers from which on it has the family's classes as they are used here.
        chats (bool): Whether a text is told to a language model as a message. Default False.
        folded (int): Channels that the transformer takes for one of the autoencoder's; patches of 2 x 2 make four.
    """

    since = '0.31'
    chats = False
    folded = 1
    usual_side = 1024

    def __init__(self, components: Components) -> None:
        require_diffusers(self.since, f'a {components.index["_class_name"].removesuffix("Pipeline")} model')
        super().__init__()
        self.source, self._components = components.source, components
        self._set_schedule(components.config('scheduler'))
        self._check_channels()
        self._check_configs()
        self.vae = components.module('vae', self._vae_dtype())
        self.transformer: Any = components.module('transformer')
        self.freeze()
        self.text = PipelineTexts(self)

    @abstractmethod
    def _set_schedule(self, schedule: Mapping) -> None:
        """Take the config of the scheduler, or name what is wrong with it."""

    def _check_channels(self) -> None:
        """Name a transformer that takes more than a noised image, before weights are loaded."""
        taken, vae = self._components.config('transformer').get('in_channels'), self._components.config('vae')
        refuse_tiny_autoencoder(self.source, vae)
        latents = vae.get('latent_channels') or vae.get('z_dim')
        if taken and latents and taken != self.folded * latents:
            raise UserError(
                f'{self.source} has a transformer of {taken} input channels for {self.folded * latents} of its '
                'latents: inpainting and editing models are not supported, nor is the autoencoder of another model, '
                'use a text-to-image model as it was published'
            )

    def _check_configs(self) -> None:
        """Name what the family's formulas would be silently wrong for, before weights are loaded."""

    def _vae_dtype(self) -> torch.dtype | None:
        """In which the autoencoder runs; None: as the transformer."""
        return None

    def _text_dtype(self) -> torch.dtype | None:
        """In which the text encoder runs; None: as the transformer."""
        return None

    @property
    def denoiser(self) -> nn.Module:
        """nn.Module: The transformer."""
        return self.transformer

    @property
    def patch(self) -> int:
        """int: Latent elements per token, along a side."""
        return self.transformer.config.patch_size

    @property
    def stride(self) -> int:
        """int: What image sides are padded to: pixels per token."""
        return self.latent_stride * self.patch

    @property
    def width(self) -> int:
        """int: Channels of a token."""
        return self.transformer.config.num_attention_heads * self.transformer.config.attention_head_dim

    def _watch(self, taps: Sequence[str], size: tuple[int, int]) -> FeatureTaps:
        known = {tap.name: tap for tap in self.taps()} if taps else {}
        return FeatureTaps(self.transformer, [known[name] for name in taps], size)

    def text_pipeline(self) -> Any:
        """The pipeline that the folder names, with its tokenizer and text encoder alone; those of several override."""
        import diffusers

        load = self._components
        return getattr(diffusers, load.index['_class_name'])(
            scheduler=None,
            vae=None,
            transformer=None,
            text_encoder=load.module('text_encoder', self._text_dtype()),
            tokenizer=load.tokenizer('tokenizer', self.chats),
        )

    def text_limits(self, pipeline: Any) -> list[tuple[Any, int]]:
        """list[tuple]: The tokenizer, and the tokens that ``encode_prompt`` keeps of a text."""
        return [(pipeline.tokenizer, default_of(pipeline.encode_prompt, 'max_sequence_length'))]

    def _check_side(self, latents: Tensor, most: int) -> None:
        """Name images that are too large for the positions of the tokens, ``most`` along a side."""
        if max(latents.shape[-2:]) > most * self.patch:
            raise UserError(
                f'{self.source!r} takes images of at most {most * self.stride} pixels a side, but got '
                f'{" x ".join(str(side * self.latent_stride) for side in latents.shape[-2:])}: scale or crop them'
            )


def default_of(function: Callable, argument: str) -> Any:
    """What a function of diffusers takes where an argument is not given."""
    return inspect.signature(function).parameters[argument].default


def in_chat(tokenizer: Any, **options: Any) -> Callable:
    """A tokenizer of texts as messages to a language model, for :meth:`TransformerModel.text_limits`.

    Args:
        tokenizer: With a template of chats.
        **options: Of ``apply_chat_template``, as the family's pipeline has them.

    Returns:
        Callable: Takes a list of texts and gives a dict with ``input_ids``.
    """

    def tokenize(texts: Sequence[str]) -> Any:
        chats = [[dict(role='user', content=text)] for text in texts]
        return tokenizer(tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True, **options))

    return tokenize


def to_tokens(latents: Tensor, patch: int) -> Tensor:
    """Latents (N, c, h, w) as tokens (N, h / patch * w / patch, c * patch^2), row by row."""
    return F.pixel_unshuffle(latents, patch).flatten(2).transpose(1, 2)


def from_tokens(tokens: Tensor, like: Tensor, patch: int) -> Tensor:
    """Inverse of :func:`to_tokens`, for latents of the size of ``like``."""
    grid = [side // patch for side in like.shape[-2:]]
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, grid), patch)
