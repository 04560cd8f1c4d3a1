"""FLUX.1 (dev, schnell, Kontext without a picture to edit): a transformer on 2 x 2 patches of latents."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .condition import Condition
from .flow_model import FlowModel
from .taps import Tap, block_taps
from .transformer_model import from_tokens, to_tokens

_GUIDANCE = 3.5  # what the distilled models are told, as diffusers' pipeline has it
_SCHNELL_STEPS = 4


class Flux(FlowModel):
    """FLUX.1 as one frozen model. In float16 its activations overflow, so that it is not offered."""

    dtypes = ('fp32', 'bf16')
    patch, folded = 2, 4

    def _check_configs(self) -> None:
        self._guided = bool(self._components.config('transformer').get('guidance_embeds'))
        self.few_steps = None if self._guided else _SCHNELL_STEPS

    @property
    def text_tokens(self) -> int:
        """int: Of T5: 512, and 256 for schnell, which was trained with as many."""
        return 512 if self._guided else 256

    def taps(self) -> list[Tap]:
        """list[Tap]: What each block takes of the image, see :class:`TokenTap`; joint blocks, then single ones."""
        joint, single = self.transformer.transformer_blocks, self.transformer.single_transformer_blocks
        names = [f'transformer_blocks.{i}.norm1' for i in range(len(joint))]
        names += [f'single_transformer_blocks.{i}.norm' for i in range(len(single))]
        return block_taps(names, self.stride, self.width)

    def text_pipeline(self) -> Any:
        """FluxPipeline: With tokenizers and text encoders alone."""
        from diffusers import FluxPipeline

        load = self._components
        return FluxPipeline(
            scheduler=None,
            vae=None,
            transformer=None,
            text_encoder=load.module('text_encoder'),
            tokenizer=load.tokenizer('tokenizer'),
            text_encoder_2=load.module('text_encoder_2'),
            tokenizer_2=load.tokenizer('tokenizer_2'),
        )

    def text_limits(self, pipeline: Any) -> list[tuple[Any, int]]:
        """list[tuple]: T5's tokenizer; CLIP, which gives the pooled text, sees the beginning of longer ones."""
        return [(pipeline.tokenizer_2, self.text_tokens)]

    def encode_texts(self, pipeline: Any, texts: Sequence[str], device: torch.device) -> Condition:
        """T5's tokens and CLIP's pooled text.

        Args:
            pipeline (FluxPipeline): Of :meth:`text_pipeline`.
            texts (Sequence[str]): n prompts.
            device (torch.device): Of the encoders.

        Returns:
            Condition: Of n rows.
        """
        sequence, pooled, _ = pipeline.encode_prompt(
            list(texts), None, device=device, max_sequence_length=self.text_tokens
        )
        return Condition(sequence, pooled)

    def _pass(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        height, width = (side // self.patch for side in latents.shape[-2:])
        rows, columns = torch.meshgrid(*(torch.arange(side) for side in (height, width)), indexing='ij')
        places = torch.stack([torch.zeros_like(rows), rows, columns], -1).flatten(0, 1).to(latents.device)
        tokens = self.transformer(
            hidden_states=to_tokens(latents, self.patch),
            encoder_hidden_states=condition.sequence,
            pooled_projections=condition.pooled,
            timestep=level / self.num_train_timesteps,
            img_ids=places,
            txt_ids=places.new_zeros(condition.sequence.shape[1], 3),
            guidance=torch.full_like(level, _GUIDANCE) if self._guided else None,
            return_dict=False,
        )[0]
        return from_tokens(tokens, latents, self.patch)

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`."""
        config = self.transformer.config
        self.check_widths(condition, config.joint_attention_dim, config.pooled_projection_dim)
