"""Stable Diffusion XL and SDXL-Turbo: two text encoders, a pooled text and the sizes of the image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..utils.compat import require_diffusers
from ..utils.errors import UserError
from .condition import Condition
from .conditions.pipeline_texts import PipelineTexts
from .loading.components import Components, FromFolder
from .loading.refusals import refuse_other_kinds
from .unet_model import UNetModel


class StableDiffusionXL(FromFolder, UNetModel):
    """SDXL as one frozen model (Podell et al. 2023).

    The sizes that its U-Net is told (of the original image, the offset of the crop, of the target) are those of the
    padded image, without a crop. Its autoencoder runs in float32 whatever ``dtype`` says, unless its config says that
    it need not (``force_upcast``): in float16 its encoder overflows.

    Args:
        components (Components): Of its folder or hub id.
    """

    needed = ('unet', 'vae', 'scheduler')
    usual_side = 1024

    def __init__(self, components: Components) -> None:
        require_diffusers('0.33', 'SDXL')  # earlier pipelines encode no texts without an autoencoder
        configs = [components.config(part) for part in ('unet', 'vae', 'scheduler')]
        unet, vae, schedule = configs
        source = components.source
        refuse_other_kinds(source, *configs)
        if unet.get('addition_embed_type') != 'text_time' or unet.get('class_embed_type'):
            raise UserError(f'the U-Net of {source} is not told text and sizes as SDXL is: use an SDXL model')
        if unet['in_channels'] != vae['latent_channels']:
            raise UserError(
                f'{source} has a U-Net of {unet["in_channels"]} input channels for latents of '
                f'{vae["latent_channels"]}: inpainting and editing models are not supported, use a text-to-image model'
            )
        upcast = torch.float32 if vae.get('force_upcast', True) else None
        super().__init__(components.module('vae', upcast), components.module('unet'), schedule, source)
        self._components = components
        self.text = _Texts(self)

    def text_pipeline(self) -> Any:
        """StableDiffusionXLPipeline: With tokenizers and text encoders alone."""
        from diffusers import StableDiffusionXLPipeline

        load = self._components
        return StableDiffusionXLPipeline(
            vae=None,
            unet=None,
            scheduler=None,
            text_encoder=load.module('text_encoder'),
            text_encoder_2=load.module('text_encoder_2'),
            tokenizer=load.tokenizer('tokenizer'),
            tokenizer_2=load.tokenizer('tokenizer_2'),
            add_watermarker=False,
        )

    def text_limits(self, pipeline: Any) -> list[tuple[Any, int]]:
        """list[tuple]: Tokenizers, and the tokens that they keep of a text."""
        return [(each, each.model_max_length) for each in (pipeline.tokenizer, pipeline.tokenizer_2)]

    def encode_texts(self, pipeline: Any, texts: Sequence[str], device: torch.device) -> Condition:
        """Last but one hidden states of both encoders, and the second one's pooled text.

        Args:
            pipeline (StableDiffusionXLPipeline): Of :meth:`text_pipeline`.
            texts (Sequence[str]): n prompts.
            device (torch.device): Of the encoders.

        Returns:
            Condition: Of n rows.
        """
        sequence, _, pooled, _ = pipeline.encode_prompt(list(texts), device=device, do_classifier_free_guidance=False)
        return Condition(sequence, pooled)

    def _pass(self, latents: Tensor, step: Tensor, condition: Condition) -> Tensor:
        size = [side * self.latent_stride for side in latents.shape[-2:]]
        ids = torch.tensor([[*size, 0, 0, *size]], device=latents.device, dtype=latents.dtype)
        told = dict(text_embeds=condition.pooled, time_ids=ids.expand(len(latents), -1))
        return self._run_unet(latents, step, condition, added_cond_kwargs=told)

    def check_condition(self, condition: Condition) -> None:
        """See :meth:`check_widths`; the U-Net joins the pooled text with six embedded sizes."""
        config = self.unet.config
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        self.check_widths(condition, self.context_dim, pooled)


class _Texts(PipelineTexts):
    def negative(self, text: str) -> Condition:
        """Zeros for the empty text where the model was trained so (``force_zeros_for_empty_prompt``)."""
        row = self.embed([text])
        zeros = not text and self._model._components.index.get('force_zeros_for_empty_prompt', True)
        return row.apply(torch.zeros_like) if zeros else row
