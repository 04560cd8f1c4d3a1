"""Qwen-Image: a transformer on image and text tokens together, on the latents of an autoencoder of videos."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .condition import Condition
from .flow_model import FlowModel
from .loading.components import Components
from .taps import InputTap, Tap, block_taps
from .transformer_model import from_tokens, to_tokens


class QwenImage(FlowModel):
    """Qwen-Image as one frozen model (Wu et al. 2025). In float16 its activations overflow, so that it is not offered.

    An image is a video of one frame to its autoencoder, whose latents have a mean and deviation per channel.

    Args:
        components (Components): Of its folder or hub id.
    """

    dtypes = ('fp32', 'bf16')
    since = '0.37'
    folded = 4
    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, components: Components) -> None:
        super().__init__(components)
        for name in ('latents_mean', 'latents_std'):
            statistic = torch.tensor(self.vae.config[name]).view(1, -1, 1, 1)
            self.register_buffer(name, statistic, persistent=False)

    def taps(self) -> list[Tap]:
        """list[Tap]: What the attention of each block takes of the image, see :class:`InputTap`."""
        names = [f'transformer_blocks.{i}.attn' for i in range(len(self.transformer.transformer_blocks))]
        return block_taps(names, self.stride, self.width, InputTap)

    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        mean, deviation = super()._moments(images[:, :, None])
        return mean[:, :, 0], None if deviation is None else deviation[:, :, 0]

    def scaled(self, latents: Tensor) -> Tensor:
        """See :meth:`LatentModel.scaled`; per channel."""
        return (latents - self.latents_mean) / self.latents_std

    def unscaled(self, latents: Tensor) -> Tensor:
        """Inverse of :meth:`scaled`."""
        return latents * self.latents_std + self.latents_mean

    def _decoded(self, latents: Tensor) -> Tensor:
        return super()._decoded(latents[:, :, None])[:, :, 0]

    def text_limits(self, pipeline: Any) -> list[tuple[Any, int]]:
        """list[tuple]: The tokenizer of a text in the pipeline's template, whose beginning is dropped afterwards."""

        def in_template(texts: Sequence[str]) -> Any:
            return pipeline.tokenizer([pipeline.prompt_template_encode.format(text) for text in texts])

        return [(in_template, pipeline.tokenizer_max_length + pipeline.prompt_template_encode_start_idx)]

    def encode_texts(self, pipeline: Any, texts: Sequence[str], device: torch.device) -> Condition:
        """Last hidden states of the language model, as many as a text has tokens.

        Args:
            pipeline (QwenImagePipeline): Of :meth:`text_pipeline`.
            texts (Sequence[str]): n prompts.
            device (torch.device): Of the encoder.

        Returns:
            Condition: Of n rows.
        """
        sequence, mask = pipeline.encode_prompt(list(texts), device=device)
        return Condition(sequence, mask=mask)

    def _pass(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        height, width = (side // self.patch for side in latents.shape[-2:])
        tokens = self.transformer(
            hidden_states=to_tokens(latents, self.patch),
            encoder_hidden_states=condition.sequence,
            encoder_hidden_states_mask=condition.mask,
            timestep=level / self.num_train_timesteps,
            img_shapes=[[(1, height, width)]] * len(latents),
            return_dict=False,
        )[0]
        return from_tokens(tokens, latents, self.patch)

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`."""
        self.check_widths(condition, self.transformer.config.joint_attention_dim)
