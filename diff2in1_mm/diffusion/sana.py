"""Sana: a linear transformer on the latents of a deep-compression autoencoder, told texts by a language model."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..utils.kept import Kept
from .condition import Condition
from .conditions.pipeline_texts import PipelineTexts
from .flow_model import FlowModel
from .loading.components import Components
from .taps import InputTap, Tap, block_taps
from .transformer_model import default_of


class Sana(FlowModel):
    """Sana or Sana 1.5 as one frozen model (Xie et al. 2024). Its stride is 32.

    Its autoencoder has no posterior: latents are the same every time. With ``dtype='fp16'`` it stays in float32 and the
    language model in bfloat16, which overflow there.

    Args:
        components (Components): Of its folder or hub id.
    """

    since = '0.33'

    def __init__(self, components: Components) -> None:
        super().__init__(components)
        self.text = _Texts(self)

    def _vae_dtype(self) -> torch.dtype | None:
        return torch.float32 if self._components.dtype == torch.float16 else None

    def _text_dtype(self) -> torch.dtype | None:
        return torch.bfloat16 if self._components.dtype == torch.float16 else None

    def taps(self) -> list[Tap]:
        """list[Tap]: What the self-attention of each block takes, see :class:`InputTap`."""
        names = [f'transformer_blocks.{i}.attn1' for i in range(len(self.transformer.transformer_blocks))]
        return block_taps(names, self.stride, self.width, InputTap)

    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.vae.encode(images).latent, None

    def text_limits(self, pipeline: Any) -> list[tuple[Any, int]]:
        """list[tuple]: As :meth:`TransformerModel.text_limits`; one token less, which is the instruction's last."""
        return [(tokenizer, limit - 1) for tokenizer, limit in super().text_limits(pipeline)]

    def encode_texts(
        self, pipeline: Any, texts: Sequence[str], device: torch.device, instructed: bool = True
    ) -> Condition:
        """Last hidden states of the texts' own tokens.

        Args:
            pipeline (SanaPipeline): Of :meth:`text_pipeline`.
            texts (Sequence[str]): n prompts.
            device (torch.device): Of the encoder.
            instructed (bool): After the instruction that diffusers' pipeline puts before a prompt. Default True.

        Returns:
            Condition: Of n rows.
        """
        instruction = default_of(type(pipeline).__call__, 'complex_human_instruction') if instructed else None
        sequence, mask, _, _ = pipeline.encode_prompt(
            list(texts), do_classifier_free_guidance=False, device=device, complex_human_instruction=instruction
        )
        return Condition(sequence, mask=mask)

    def _pass(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        return self.transformer(
            latents,
            encoder_hidden_states=condition.sequence,
            timestep=level * self.transformer.config.timestep_scale,
            encoder_attention_mask=condition.mask,
            return_dict=False,
        )[0]

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`."""
        self.check_widths(condition, self.transformer.config.caption_channels)


class _Texts(PipelineTexts):
    def __init__(self, model: Sana) -> None:
        super().__init__(model)
        self._negatives = Kept(16)

    def negative(self, text: str) -> Condition:
        """What guidance leads away from: one row, without the instruction."""
        encode = partial(self._model.encode_texts, instructed=False)
        return self._negatives.get([text], partial(self._encode, encode=encode))[0]
