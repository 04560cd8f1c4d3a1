"""FLUX.2 (klein, dev): a transformer on patches of latents, told texts by several layers of a language model."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .condition import Condition
from .flow_model import IMAGE_TOKENS, FlowModel
from .schedules import PartialSchedule, flow_schedule
from .taps import InputTap, Tap, block_taps
from .transformer_model import default_of, from_tokens, in_chat, to_tokens

_FOLD = 2  # latents of the autoencoder per latent of the transformer, along a side
_DISTILLED_STEPS = 4
_GUIDANCE = 4.0  # what dev is told, as diffusers' pipeline has it


class Flux2(FlowModel):
    """FLUX.2-klein as one frozen model, its base or the one distilled to four passes (Black Forest Labs 2025). In
    float16 its activations overflow, so that it is not offered.

    Latents are 2 x 2 patches of the autoencoder's, brought to unit variance by the statistics of its batch norm: noise
    is mixed in after that. How steps are spaced depends on their number.
    """

    dtypes = ('fp32', 'bf16')
    chats = True
    since = '0.37'
    folded = 4

    def _check_configs(self) -> None:
        self.few_steps = _DISTILLED_STEPS if self._components.index.get('is_distilled') else None

    @property
    def latent_stride(self) -> int:
        """int: Image pixels per latent element, of the patches."""
        return _FOLD * super().latent_stride

    def taps(self) -> list[Tap]:
        """list[Tap]: What the attention of each block takes of the image; joint blocks, then single ones."""
        names = [
            f'{blocks}.{i}.attn'
            for blocks in ('transformer_blocks', 'single_transformer_blocks')
            for i in range(len(getattr(self.transformer, blocks)))
        ]
        return block_taps(names, self.stride, self.width, InputTap)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        norm = self.vae.bn
        mean, variance = (values.view(1, -1, 1, 1) for values in (norm.running_mean, norm.running_var))
        return mean, (variance + self.vae.config.batch_norm_eps).sqrt()

    def scaled(self, latents: Tensor) -> Tensor:
        """See :meth:`LatentModel.scaled`; (N, c, h, w) to (N, 4 c, h / 2, w / 2)."""
        mean, deviation = self._statistics()
        return (F.pixel_unshuffle(latents, _FOLD) - mean) / deviation

    def unscaled(self, latents: Tensor) -> Tensor:
        """Inverse of :meth:`scaled`."""
        mean, deviation = self._statistics()
        return F.pixel_shuffle(latents * deviation + mean, _FOLD)

    def partial_schedule(self, T: int, steps: int, solver: str = 'dpmsolver++') -> PartialSchedule:
        """See :func:`flow_schedule`; shifted as diffusers' pipeline does for so many steps and 1024 x 1024 pixels."""
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        return flow_schedule(T, steps, solver, math.exp(compute_empirical_mu(IMAGE_TOKENS, steps)))

    def text_limits(self, pipeline: Any) -> list[tuple[Any, int]]:
        """list[tuple]: The tokenizer of a chat, and the tokens that ``encode_prompt`` keeps of it."""
        limit = default_of(pipeline.encode_prompt, 'max_sequence_length')
        return [(in_chat(pipeline.tokenizer, enable_thinking=False), limit)]

    def encode_texts(self, pipeline: Any, texts: Sequence[str], device: torch.device) -> Condition:
        """Hidden states of three layers of the language model, side by side; padding counts as text.

        Args:
            pipeline (Flux2KleinPipeline): Or dev's, of :meth:`text_pipeline`.
            texts (Sequence[str]): n prompts.
            device (torch.device): Of the encoder.

        Returns:
            Condition: Of n rows.
        """
        return Condition(pipeline.encode_prompt(list(texts), device=device)[0])

    def _pass(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        sides = [torch.arange(side, device=latents.device) for side in (1, *latents.shape[-2:], 1)]
        places = torch.cartesian_prod(*sides)  # time, row, column, place in the text
        text = places.new_zeros(condition.sequence.shape[1], len(sides))
        text[:, -1] = torch.arange(len(text), device=latents.device)
        guided = self.transformer.config.guidance_embeds
        tokens = self.transformer(
            hidden_states=to_tokens(latents, self.patch),
            encoder_hidden_states=condition.sequence,
            timestep=level / self.num_train_timesteps,
            img_ids=places,
            txt_ids=text,
            guidance=torch.full_like(level, _GUIDANCE) if guided else None,
            return_dict=False,
        )[0]
        return from_tokens(tokens, latents, self.patch)

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`."""
        self.check_widths(condition, self.transformer.config.joint_attention_dim)


class Flux2Dev(Flux2):
    """FLUX.2-dev as one frozen model (Black Forest Labs 2025), told the guidance that diffusers' pipeline takes.

    Mistral reads its texts, after the instruction that the pipeline puts before a prompt.
    """

    def text_limits(self, pipeline: Any) -> list[tuple[Any, int]]:
        """list[tuple]: The tokenizer of a chat with its instruction, and the tokens that ``encode_prompt`` keeps."""
        from diffusers.pipelines.flux2.pipeline_flux2 import format_input

        def instructed(texts: Sequence[str]) -> Any:
            chats = format_input(list(texts), pipeline.system_message)
            return pipeline.tokenizer.apply_chat_template(chats, tokenize=True, return_dict=True)

        return [(instructed, default_of(pipeline.encode_prompt, 'max_sequence_length'))]
