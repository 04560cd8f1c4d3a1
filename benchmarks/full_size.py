"""SDXL, SD 3.5-medium and FLUX.2-klein-4B at full size with random weights, without files and text encoders.

For ``families.py --full``. Architectures are those of the published folders' ``config.json``.
"""

import inspect
from contextlib import nullcontext
from typing import Any
from unittest import mock

import diffusers
import torch
from torch import nn

from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.families import FAMILIES
from diff2in1_mm.models.backbones import diffusion_backbone

_LEVELS = 4  # of the autoencoders: stride 8
_VAE = dict(
    down_block_types=['DownEncoderBlock2D'] * _LEVELS,
    up_block_types=['UpDecoderBlock2D'] * _LEVELS,
    block_out_channels=[128, 256, 512, 512],
    layers_per_block=2,
    sample_size=1024,
)

#: By family of tests/family_models.py: name, pipeline, tokens and channels of a text, channels of the pooled one, and
#: each part's class and options.
FULL: dict[str, dict[str, Any]] = dict(
    xl=dict(
        name='SDXL',
        pipeline='StableDiffusionXLPipeline',
        text=(77, 2048, 1280),
        unet=dict(
            _class_name='UNet2DConditionModel',
            sample_size=128,
            block_out_channels=[320, 640, 1280],
            layers_per_block=2,
            down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
            up_block_types=['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
            transformer_layers_per_block=[1, 2, 10],
            attention_head_dim=[5, 10, 20],
            use_linear_projection=True,
            cross_attention_dim=2048,
            addition_embed_type='text_time',
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        vae=dict(_class_name='AutoencoderKL', latent_channels=4, scaling_factor=0.13025, force_upcast=True, **_VAE),
        scheduler=dict(
            _class_name='EulerDiscreteScheduler', beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear'
        ),
    ),
    sd3=dict(
        name='SD 3.5-medium',
        pipeline='StableDiffusion3Pipeline',
        text=(77 + 256, 4096, 2048),
        transformer=dict(
            _class_name='SD3Transformer2DModel',
            sample_size=128,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=24,
            attention_head_dim=64,
            num_attention_heads=24,
            joint_attention_dim=4096,
            caption_projection_dim=1536,
            pooled_projection_dim=2048,
            pos_embed_max_size=384,
            dual_attention_layers=tuple(range(13)),
            qk_norm='rms_norm',
        ),
        vae=dict(
            _class_name='AutoencoderKL',
            latent_channels=16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
            **_VAE,
        ),
        scheduler=dict(_class_name='FlowMatchEulerDiscreteScheduler', shift=3.0),
    ),
    flux_2=dict(
        name='FLUX.2-klein-4B',
        pipeline='Flux2KleinPipeline',
        text=(512, 3 * 2560, 0),
        transformer=dict(
            _class_name='Flux2Transformer2DModel',
            patch_size=1,
            in_channels=128,
            num_layers=5,
            num_single_layers=20,
            attention_head_dim=128,
            num_attention_heads=24,
            joint_attention_dim=3 * 2560,
            axes_dims_rope=(32, 32, 32, 32),
            guidance_embeds=False,
        ),
        vae=dict(_class_name='AutoencoderKLFlux2', latent_channels=32, **_VAE),
        scheduler=dict(_class_name='FlowMatchEulerDiscreteScheduler', use_dynamic_shifting=True, shift=3.0),
    ),
)


class RandomParts:
    """What :class:`Components` is of a folder, of an entry of :data:`FULL`: parts are made where they are to run."""

    variant = revision = None

    def __init__(self, spec: dict[str, Any], device: str, dtype: torch.dtype = torch.bfloat16) -> None:
        self.spec, self.device, self.dtype = spec, device, dtype
        self.source, self.index = f'{spec["name"]} with random weights', dict(_class_name=spec['pipeline'])

    def config(self, part: str) -> dict[str, Any]:
        return {**self._made(part).config, '_class_name': self.spec[part]['_class_name']}

    def module(self, part: str, dtype: torch.dtype | None = None) -> nn.Module:
        # never in float32 beside it; by torch's own method, as diffusers' tells what concerns real weights
        made = nn.Module.to(self._made(part), dtype or self.dtype)
        return _filled(made.to_empty(device=self.device))

    def _made(self, part: str) -> Any:
        options = dict(self.spec[part])
        with nullcontext() if part == 'scheduler' else torch.device('meta'):
            return getattr(diffusers, options.pop('_class_name'))(**options)


@torch.no_grad()
def _filled(module: nn.Module) -> nn.Module:
    """Small numbers: with those of an initialisation for training, activations of so many blocks would overflow."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.normal_(std=0.02)
    for name, statistic in module.named_buffers():
        if name.endswith('running_var'):
            statistic.fill_(1)
    return module.eval().requires_grad_(False)


class RandomTexts:
    """In the place of text encoders: numbers of the right shape."""

    in_memory = False

    def __init__(self, tokens: int, channels: int, pooled: int) -> None:
        self._shape, self._pooled = (tokens, channels), pooled

    def embed(self, texts: list[str]) -> Condition:
        pooled = torch.randn(len(texts), self._pooled) if self._pooled else None
        return Condition(torch.randn(len(texts), *self._shape), pooled)


def full_size(family: str, device: str, **options: Any) -> tuple[Any, Any]:
    """A backbone of full size, and diffusers' pipeline around the same parts.

    Args:
        family (str): Of :data:`FULL`.
        device (str): Where both run.
        **options: Of :class:`DiffusionBackbone`.
    """
    spec = FULL[family]
    kind = next(line for line in FAMILIES if spec['pipeline'] in line.pipelines).load_class()
    model = kind(RandomParts(spec, device))
    model.text = RandomTexts(*spec['text'])
    with mock.patch.object(diffusion_backbone, 'load_diffusion', lambda source: model):
        backbone = diffusion_backbone.DiffusionBackbone(model.source, **options)
    pipeline = getattr(diffusers, spec['pipeline'])
    needed = [n for n, p in inspect.signature(pipeline).parameters.items() if p.default is inspect.Parameter.empty]
    parts = {model.denoiser_name: model.denoiser, 'vae': model.vae}
    return backbone, pipeline(**{**dict.fromkeys(needed), **parts})
