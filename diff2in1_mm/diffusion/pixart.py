"""PixArt-alpha and PixArt-sigma: a transformer with the noise schedule of a U-Net, told texts by T5."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .condition import Condition
from .loading.refusals import refuse_other_kinds
from .taps import InputTap, Tap, block_taps
from .timestep_noise import TimestepNoise
from .transformer_model import TransformerModel


class PixArt(TimestepNoise, TransformerModel):
    """PixArt-alpha or PixArt-sigma as one frozen model (Chen et al. 2023, 2024).

    Models of alpha for 1024 pixels are told size and aspect ratio of the image: those of the padded one. Autoencoders
    that say so (``force_upcast``, SDXL's) run in float32 whatever ``dtype`` says. Of what the transformer gives, the
    half that is a learned variance is dropped.
    """

    since = '0.33'

    def _check_configs(self) -> None:
        transformer, vae = (self._components.config(part) for part in ('transformer', 'vae'))
        refuse_other_kinds(self.source, transformer, vae, self._components.config('scheduler'))
        self._upcast = bool(vae.get('force_upcast'))

    def _vae_dtype(self) -> torch.dtype | None:
        return torch.float32 if self._upcast else None

    def taps(self) -> list[Tap]:
        """list[Tap]: What the self-attention of each block takes, see :class:`InputTap`."""
        names = [f'transformer_blocks.{i}.attn1' for i in range(len(self.transformer.transformer_blocks))]
        return block_taps(names, self.stride, self.width, InputTap)

    def encode_texts(self, pipeline: Any, texts: Sequence[str], device: torch.device) -> Condition:
        """T5's tokens.

        Args:
            pipeline (PixArtAlphaPipeline): Or of sigma, of :meth:`text_pipeline`.
            texts (Sequence[str]): n prompts.
            device (torch.device): Of the encoder.

        Returns:
            Condition: Of n rows.
        """
        sequence, mask, _, _ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False, device=device)
        return Condition(sequence, mask=mask)

    def _pass(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        told = None
        if self.transformer.use_additional_conditions:
            height, width = (side * self.latent_stride for side in latents.shape[-2:])
            sizes = latents.new_tensor([[height, width, height / width]]).expand(len(latents), -1)
            told = dict(resolution=sizes[:, :2], aspect_ratio=sizes[:, 2:])
        output = self.transformer(
            latents,
            encoder_hidden_states=condition.sequence,
            encoder_attention_mask=condition.mask,
            timestep=level,
            added_cond_kwargs=told,
            return_dict=False,
        )[0]
        return output[:, : latents.shape[1]]

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`."""
        self.check_widths(condition, self.transformer.config.caption_channels)
