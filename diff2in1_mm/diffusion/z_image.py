"""Z-Image: a transformer on one sequence of image and text tokens, told texts by a language model."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .condition import Condition
from .flow_model import FlowModel
from .taps import LeadingTap, Tap, block_taps
from .transformer_model import default_of, in_chat


class ZImage(FlowModel):
    """Z-Image or Z-Image-Turbo as one frozen model (Tongyi Lab 2025). It is published in bfloat16; float16, whose range
    is smaller, is not offered.

    Its transformer is told how clean a latent is, and predicts the negative of the flow.
    """

    dtypes = ('fp32', 'bf16')
    chats = True
    since = '0.37'

    @property
    def patch(self) -> int:
        """int: Latent elements per token, along a side."""
        return self.transformer.config.all_patch_size[0]

    @property
    def width(self) -> int:
        """int: Channels of a token."""
        return self.transformer.config.dim

    def taps(self) -> list[Tap]:
        """list[Tap]: What the attention of each block on the whole sequence takes of the image."""
        names = [f'layers.{i}.attention' for i in range(len(self.transformer.layers))]
        return block_taps(names, self.stride, self.width, LeadingTap)

    def text_limits(self, pipeline: Any) -> list[tuple[Any, int]]:
        """list[tuple]: The tokenizer of a chat, and the tokens that ``encode_prompt`` keeps of it."""
        limit = default_of(pipeline.encode_prompt, 'max_sequence_length')
        return [(in_chat(pipeline.tokenizer, enable_thinking=True), limit)]

    def encode_texts(self, pipeline: Any, texts: Sequence[str], device: torch.device) -> Condition:
        """Last but one hidden states of the language model, as many as a text has tokens.

        Args:
            pipeline (ZImagePipeline): Of :meth:`text_pipeline`.
            texts (Sequence[str]): n prompts.
            device (torch.device): Of the encoder.

        Returns:
            Condition: Of n rows.
        """
        rows, _ = pipeline.encode_prompt(list(texts), device=device, do_classifier_free_guidance=False)
        return Condition.cat([Condition(row[None]) for row in rows])

    def _pass(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        axes = self.transformer.config.axes_lens[1:]
        self._check_side(latents, min(axes))
        flow = self.transformer(
            list(latents[:, :, None].unbind()),
            1 - level / self.num_train_timesteps,
            [row.sequence[0] for row in condition.rows()],
            patch_size=self.patch,
            return_dict=False,
        )[0]
        return -torch.stack(flow)[:, :, 0]

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`."""
        self.check_widths(condition, self.transformer.config.cap_feat_dim)
