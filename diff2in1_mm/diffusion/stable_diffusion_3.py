"""Stable Diffusion 3 and 3.5: a transformer on image and text tokens together (MMDiT), with three text encoders."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .condition import Condition
from .flow_model import FlowModel
from .taps import Tap, block_taps

_T5_TOKENS = 256  # what diffusers' pipeline keeps of a text


class StableDiffusion3(FlowModel):
    """SD 3 or 3.5 as one frozen model (Esser et al. 2024).

    The third text encoder may be left out of the folder, as its authors allow.
    """

    def taps(self) -> list[Tap]:
        """list[Tap]: What each block takes of the image, see :class:`TokenTap`."""
        names = [f'transformer_blocks.{i}.norm1' for i in range(len(self.transformer.transformer_blocks))]
        return block_taps(names, self.stride, self.width)

    def text_pipeline(self) -> Any:
        """StableDiffusion3Pipeline: With tokenizers and text encoders; the transformer knows the widths."""
        from diffusers import StableDiffusion3Pipeline

        load, third = self._components, self._components.has('text_encoder_3')
        return StableDiffusion3Pipeline(
            transformer=self.transformer,
            scheduler=None,
            vae=None,
            text_encoder=load.module('text_encoder'),
            tokenizer=load.tokenizer('tokenizer'),
            text_encoder_2=load.module('text_encoder_2'),
            tokenizer_2=load.tokenizer('tokenizer_2'),
            text_encoder_3=load.module('text_encoder_3') if third else None,
            tokenizer_3=load.tokenizer('tokenizer_3') if third else None,
        )

    def text_limits(self, pipeline: Any) -> list[tuple[Any, int]]:
        """list[tuple]: T5's tokenizer, which takes the longest texts; CLIP's see the beginning of those."""
        if pipeline.text_encoder_3 is not None:
            return [(pipeline.tokenizer_3, _T5_TOKENS)]
        return [(pipeline.tokenizer, pipeline.tokenizer_max_length)]

    def encode_texts(self, pipeline: Any, texts: Sequence[str], device: torch.device) -> Condition:
        """Tokens of CLIP's encoders side by side, then T5's, and the pooled text of both CLIPs.

        Args:
            pipeline (StableDiffusion3Pipeline): Of :meth:`text_pipeline`.
            texts (Sequence[str]): n prompts.
            device (torch.device): Of the encoders.

        Returns:
            Condition: Of n rows.
        """
        sequence, _, pooled, _ = pipeline.encode_prompt(
            list(texts), None, None, device=device, do_classifier_free_guidance=False, max_sequence_length=_T5_TOKENS
        )
        return Condition(sequence, pooled)

    def _pass(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        self._check_side(latents, self.transformer.config.pos_embed_max_size)
        return self.transformer(
            hidden_states=latents,
            encoder_hidden_states=condition.sequence,
            pooled_projections=condition.pooled,
            timestep=level,
            return_dict=False,
        )[0]

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`."""
        config = self.transformer.config
        self.check_widths(condition, config.joint_attention_dim, config.pooled_projection_dim)
