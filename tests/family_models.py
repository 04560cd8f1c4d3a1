"""Small random models of every family in their true folder format, by diffusers' own classes."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LDMPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from .language_families import flux_2, flux_2_dev, qwen_image, sana, z_image
from .small_models import autoencoder, tiny_pipeline, tiny_tokenizer, write_json
from .versions import before


def clip(kind=CLIPTextModel, width: int = 16, projection: int = 16) -> torch.nn.Module:
    """A text encoder of two layers for :func:`tiny_tokenizer`."""
    tokenizer = tiny_tokenizer()
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=24,
            projection_dim=projection,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def xl(scheduler=None, **options) -> StableDiffusionXLPipeline:
    """Two levels of a U-Net: stride 8."""
    if before('diffusers', '0.33'):
        pytest.skip('SDXL needs diffusers 0.33')
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[16, 24],
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D'],
        up_block_types=['CrossAttnUpBlock2D', 'UpBlock2D'],
        transformer_layers_per_block=[1, 2],
        attention_head_dim=[2, 4],
        use_linear_projection=True,
        cross_attention_dim=28,
        addition_embed_type='text_time',
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 20,
        **options,
    )
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=clip(),
        text_encoder_2=clip(CLIPTextModelWithProjection, 12, 20),
        tokenizer=tiny_tokenizer(),
        tokenizer_2=tiny_tokenizer(),
        unet=unet,
        scheduler=scheduler or EulerDiscreteScheduler(**SD_NOISE),
        add_watermarker=False,
    )


def t5(width: int = 24) -> tuple[T5TokenizerFast, T5EncoderModel]:
    """T5's tokenizer with letters alone, and an encoder of two layers."""
    pieces = [('<pad>', 0.0), ('</s>', 0.0), ('<unk>', -9.0), ('\u2581', -3.0)]
    pieces += [(chr(c), -4.0) for c in range(ord('!'), ord('~') + 1)]
    tokens = Tokenizer(Unigram(pieces, unk_id=2))
    tokens.pre_tokenizer = Metaspace()
    tokens.post_processor = TemplateProcessing(single='$A </s>', special_tokens=[('</s>', 1)])
    tokenizer = T5TokenizerFast(tokenizer_object=tokens, extra_ids=0)  # transformers 4 takes no list of pieces
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
        feed_forward_proj='gated-gelu',
    )
    return tokenizer, T5EncoderModel(config)


def sd3(third: bool = True, **options) -> StableDiffusion3Pipeline:
    """Three blocks of SD 3.5's kind: stride 8."""
    tokenizer, encoder = t5() if third else (None, None)
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=3,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=24,
            caption_projection_dim=32,
            pooled_projection_dim=16 + 8,
            pos_embed_max_size=32,
            dual_attention_layers=(0,),
            qk_norm='rms_norm',
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(CLIPTextModelWithProjection, 12, 16),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=clip(CLIPTextModelWithProjection, 8, 8),
        tokenizer_2=tiny_tokenizer(),
        text_encoder_3=encoder,
        tokenizer_3=tokenizer,
    )


def plain_unet(**options) -> UNet2DModel:
    """Two levels, the coarser one with attention."""
    return UNet2DModel(
        **{
            'sample_size': 32,
            'block_out_channels': [16, 24],
            'layers_per_block': 1,
            'norm_num_groups': 4,
            'attention_head_dim': 8,
            'down_block_types': ['DownBlock2D', 'AttnDownBlock2D'],
            'up_block_types': ['AttnUpBlock2D', 'UpBlock2D'],
            **options,
        }
    )


def ddpm(**options) -> DDPMPipeline:
    """On pixels: stride 2."""
    return DDPMPipeline(plain_unet(**options), DDPMScheduler())


def ldm(**options) -> LDMPipeline:
    """On the latents of a vector-quantised autoencoder: stride 4."""
    vqvae = VQModel(
        down_block_types=['DownEncoderBlock2D'] * 2,
        up_block_types=['UpDecoderBlock2D'] * 2,
        block_out_channels=[8, 8],
        latent_channels=3,
        norm_num_groups=4,
        num_vq_embeddings=16,
        scaling_factor=0.5,
    )
    return LDMPipeline(vqvae, plain_unet(**options), DDIMScheduler(**SD_NOISE))


def flux(guided: bool = True) -> FluxPipeline:
    """Two joint and three single blocks: stride 8; dev's kind, or schnell's."""
    tokenizer, encoder = t5()
    shift = dict(use_dynamic_shifting=True, shift=3.0) if guided else dict(shift=1.0)
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**shift),
        vae=autoencoder(shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=encoder,
        tokenizer_2=tokenizer,
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=2,
            num_single_layers=3,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            pooled_projection_dim=16,
            guidance_embeds=guided,
            axes_dims_rope=(4, 6, 6),
        ),
    )


def pixart(kind: str = 'Alpha', sample_size: int = 128) -> PixArtAlphaPipeline | PixArtSigmaPipeline:
    """Three blocks of the model for 1024 pixels, which is told sizes, or of sigma's: stride 8."""
    if before('diffusers', '0.33'):
        pytest.skip('PixArt needs diffusers 0.33')
    tokenizer, encoder = t5()
    return dict(Alpha=PixArtAlphaPipeline, Sigma=PixArtSigmaPipeline)[kind](
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=autoencoder(force_upcast=kind == 'Sigma'),
        transformer=PixArtTransformer2DModel(
            sample_size=sample_size,
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=8,
            num_layers=3,
            cross_attention_dim=24,
            caption_channels=24,
        ),
        scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )


SD_NOISE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear')

BUILDERS = dict(
    sd=tiny_pipeline,
    xl=xl,
    sd3=sd3,
    ddpm=ddpm,
    ldm=ldm,
    flux=flux,
    sana=sana,
    pixart=pixart,
    z_image=z_image,
    qwen_image=qwen_image,
    flux_2=flux_2,
    flux_2_dev=flux_2_dev,
)
#: What published folders name where a pipeline is built of something else here.
PUBLISHED = dict(flux_2_dev=dict(tokenizer=['transformers', 'PixtralProcessor']))


def build(family: str, seed: int = 0, **options):
    """A pipeline of a family, in eval mode; every time the same one."""
    torch.manual_seed(seed)
    pipeline = BUILDERS[family](**options)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save(family: str, folder, **options) -> str:
    """Write :func:`build` as a diffusers folder and give its path."""
    build(family, **options).save_pretrained(folder)
    index = Path(folder, 'model_index.json')
    write_json(index, {**json.loads(index.read_text()), **PUBLISHED.get(family, {})})
    return str(folder)
