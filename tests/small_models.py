"""Small models in the real formats, built in seconds and deterministic."""

import json

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diff2in1_mm.utils.compat import new_clip_tokenizer


def tiny_tokenizer(max_length: int = 24) -> CLIPTokenizer:
    """Letters with and without the end-of-word mark: encodes any lower-case text."""
    letters = [chr(c) for c in range(ord('!'), ord('~') + 1)]
    vocabulary = letters + [letter + '</w>' for letter in letters]
    vocabulary += ['<|startoftext|>', '<|endoftext|>']
    return new_clip_tokenizer(vocabulary, [], max_length)


def autoencoder(**options) -> AutoencoderKL:
    """Of stride 4."""
    return AutoencoderKL(
        down_block_types=['DownEncoderBlock2D'] * 3,
        up_block_types=['UpDecoderBlock2D'] * 3,
        block_out_channels=[8, 8, 16],
        layers_per_block=1,
        norm_num_groups=4,
        **{'latent_channels': 4, 'scaling_factor': 0.5, **options},
    )


def tiny_pipeline(seed: int = 0, prediction_type: str = 'epsilon') -> StableDiffusionPipeline:
    """A latent diffusion model with a VAE of stride 4 and a three-level U-Net: stride 16."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=24,
            projection_dim=16,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    vae = AutoencoderKL(
        down_block_types=['DownEncoderBlock2D'] * 3,
        up_block_types=['UpDecoderBlock2D'] * 3,
        block_out_channels=[8, 8, 16],
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.5,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[16, 24, 32],
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
        up_block_types=['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
        attention_head_dim=2,
        cross_attention_dim=16,
    )
    # By keyword: diffusers takes positional arguments for defaults, and then loses them.
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule='scaled_linear',
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    return StableDiffusionPipeline(
        vae,
        text_encoder,
        tokenizer,
        unet,
        scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_tiny_pipeline(folder: str, **options) -> str:
    """Write :func:`tiny_pipeline` as a diffusers folder and give its path."""
    tiny_pipeline(**options).save_pretrained(folder, safe_serialization=True)
    return str(folder)


def write_json(path, content) -> str:
    """Write JSON and give the path as a string."""
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(content, file)
    return str(path)


def assert_same(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Equal up to rounding: the largest difference relative to the largest value."""
    assert actual.shape == expected.shape
    error = (actual - expected).abs().max() / expected.abs().max()
    assert error <= tolerance, f'relative error {error:.2e}'


def tiny_control(pipeline: StableDiffusionPipeline, folder: str, seed: int = 0) -> str:
    """A ControlNet beside :func:`tiny_pipeline`'s U-Net, whose branch adds something."""
    torch.manual_seed(seed)
    network = ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=(8, 8, 16))
    for name, parameter in network.named_parameters():
        if 'controlnet_' in name:  # zero where training begins
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(folder)
    return folder
