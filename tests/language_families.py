"""Small random models of the families that are told texts by a language model, for :mod:`tests.family_models`."""

from typing import Any

import diffusers
import pytest
import transformers
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers.convert_slow_tokenizer import bytes_to_unicode

from .small_models import autoencoder
from .versions import before


def gemma(width: int = 24) -> tuple[Any, Any]:
    """Gemma's tokenizer with letters alone, and a language model of two layers."""
    if before('diffusers', '0.33') or before('transformers', '5'):
        pytest.skip('Sana needs diffusers 0.33, and its tokenizer is made here with transformers 5')
    pieces = ['<pad>', '<eos>', '<bos>', '<unk>', '<mask>', '\u2581', *(chr(c) for c in range(ord('!'), ord('~') + 1))]
    tokenizer = transformers.GemmaTokenizer({piece: i for i, piece in enumerate(pieces)}, [], add_bos_token=True)
    config = transformers.Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return tokenizer, transformers.Gemma2Model(config)


def sana() -> DiffusionPipeline:
    """Three blocks: stride 32."""
    tokenizer, encoder = gemma()
    blocks = dict(
        block_types=['ResBlock'] * 5 + ['EfficientViTBlock'],
        block_out_channels=[4, 4, 8, 8, 8, 16],
        layers_per_block=[1] * 6,
        qkv_multiscales=[()] * 5 + [(5,)],
    )
    return diffusers.SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=diffusers.AutoencoderDC(
            latent_channels=8,
            attention_head_dim=4,
            scaling_factor=0.5,
            **{f'{side}_{name}': value for side in ('encoder', 'decoder') for name, value in blocks.items()},
        ),
        transformer=diffusers.SanaTransformer2DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=3,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=24,
            sample_size=8,
            timestep_scale=0.5,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type='flow_prediction', use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def qwen_tokenizer() -> Any:
    """Qwen's tokenizer with letters alone, and a template of chats."""
    if before('diffusers', '0.37'):
        pytest.skip('Z-Image, Qwen-Image and FLUX.2-klein need diffusers 0.37')
    letters = sorted(bytes_to_unicode().values())
    vocabulary = {letter: i for i, letter in enumerate([*letters, '<|endoftext|>', '<|im_start|>', '<|im_end|>'])}
    tokenizer = transformers.Qwen2Tokenizer(vocabulary, [], additional_special_tokens=['<|im_start|>', '<|im_end|>'])
    tokenizer.chat_template = (
        '{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}'
        '{% if add_generation_prompt %}<|im_start|>{% if not enable_thinking %}-{% endif %}{% endif %}'
    )
    return tokenizer


QWEN = dict(
    vocab_size=259,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
)


def z_image() -> DiffusionPipeline:
    """A refiner and three blocks: stride 8."""
    tokenizer = qwen_tokenizer()
    return diffusers.ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        tokenizer=tokenizer,
        text_encoder=transformers.Qwen3Model(transformers.Qwen3Config(**QWEN)),
        transformer=diffusers.ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=3,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[4, 6, 6],
            axes_lens=[256, 32, 32],
        ),
    )


def qwen_image() -> DiffusionPipeline:
    """Three blocks on the latents of an autoencoder of videos: stride 8."""
    tokenizer = qwen_tokenizer()
    text = {name: value for name, value in QWEN.items() if name != 'head_dim'}
    rotary = dict(rope_type='default', rope_theta=10000.0, mrope_section=[1, 1, 2])
    vision = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=16)
    encoder = transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(text_config=dict(**text, rope_parameters=rotary), vision_config=vision)
    )
    return diffusers.QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_shift=0.9, max_image_seq_len=8192),
        vae=diffusers.AutoencoderKLQwenImage(
            base_dim=4,
            z_dim=4,
            dim_mult=[1, 1, 2],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[0.1, -0.2, 0.3, 0.4],
            latents_std=[1.5, 2.0, 0.5, 1.0],
        ),
        tokenizer=tokenizer,
        text_encoder=encoder,
        transformer=diffusers.QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=3,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 6, 6),
        ),
    )


def _flux_2_parts(guided: bool) -> dict[str, Any]:
    """Two joint and three single blocks, and their autoencoder: stride 8."""
    vae = diffusers.AutoencoderKLFlux2(
        down_block_types=['DownEncoderBlock2D'] * 3,
        up_block_types=['UpDecoderBlock2D'] * 3,
        block_out_channels=[8, 8, 16],
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guided,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    return dict(vae=vae, transformer=transformer, scheduler=scheduler)


def flux_2(distilled: bool = False) -> DiffusionPipeline:
    """Klein's base, or the distilled one."""
    tokenizer = qwen_tokenizer()
    encoder = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**{**QWEN, 'num_hidden_layers': 28}))
    return diffusers.Flux2KleinPipeline(
        tokenizer=tokenizer, text_encoder=encoder, is_distilled=distilled, **_flux_2_parts(guided=False)
    )


def mistral_tokenizer() -> Any:
    """Mistral's tokenizer with letters alone, padded on the left, and a template of chats with an instruction."""
    marks = ['[INST]', '[/INST]', '[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]']
    pieces = ['<unk>', '<s>', '</s>', '<pad>', *marks, *sorted(bytes_to_unicode().values())]
    tokens = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, []))
    tokens.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        bos_token='<s>',
        eos_token='</s>',
        unk_token='<unk>',
        pad_token='<pad>',
        padding_side='left',
        additional_special_tokens=marks,
    )
    tokenizer.chat_template = (
        '{{ bos_token }}{% for message in messages %}{% set text = message.content[0].text %}'
        "{% if message.role == 'system' %}[SYSTEM_PROMPT]{{ text }}[/SYSTEM_PROMPT]"
        '{% else %}[INST]{{ text }}[/INST]{% endif %}{% endfor %}'
    )
    return tokenizer


def flux_2_dev() -> DiffusionPipeline:
    """Dev, told guidance, with Mistral; its folder names a processor, which is not made without torchvision."""
    if before('diffusers', '0.37'):
        pytest.skip('FLUX.2 needs diffusers 0.37')
    tokenizer = mistral_tokenizer()
    text = {**QWEN, 'vocab_size': len(tokenizer), 'num_hidden_layers': 30}
    vision = dict(model_type='pixtral', hidden_size=16, intermediate_size=16, num_hidden_layers=1, head_dim=8)
    config = transformers.Mistral3Config(
        text_config=dict(model_type='mistral', **text), vision_config=dict(**vision, num_attention_heads=2)
    )
    return diffusers.Flux2Pipeline(
        tokenizer=tokenizer,
        text_encoder=transformers.Mistral3ForConditionalGeneration(config),
        **_flux_2_parts(guided=True),
    )
