"""Small models in the original (CompVis / Stability) key layout, from diffusers modules."""

import re

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

RESNET = {
    'norm1': 'in_layers.0',
    'conv1': 'in_layers.2',
    'time_emb_proj': 'emb_layers.1',
    'norm2': 'out_layers.0',
    'conv2': 'out_layers.3',
    'conv_shortcut': 'skip_connection',
}
UNET_TOP = {
    'time_embedding.linear_1': 'time_embed.0',
    'time_embedding.linear_2': 'time_embed.2',
    'conv_in': 'input_blocks.0.0',
    'conv_norm_out': 'out.0',
    'conv_out': 'out.2',
}
VAE = [
    ('down_blocks', 'down'),
    ('up_blocks', 'up'),
    ('resnets', 'block'),
    ('downsamplers.0', 'downsample'),
    ('upsamplers.0', 'upsample'),
    ('mid_block.attentions.0', 'mid.attn_1'),
    ('conv_shortcut', 'nin_shortcut'),
    ('conv_norm_out', 'norm_out'),
    ('group_norm', 'norm'),
    ('to_q', 'q'),
    ('to_k', 'k'),
    ('to_v', 'v'),
    ('to_out.0', 'proj_out'),
]


def small_sd(v2: bool = False, seed: int = 0):
    """VAE, U-Net and text encoder of the 1.x or 2.x family with few channels, in eval mode."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        down_block_types=['DownEncoderBlock2D'] * 3,
        up_block_types=['UpDecoderBlock2D'] * 3,
        block_out_channels=[32, 32, 64],
        layers_per_block=1,
        latent_channels=4,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[64, 128, 128],
        layers_per_block=2,
        down_block_types=['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
        up_block_types=['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
        cross_attention_dim=64,
        attention_head_dim=[1, 2, 2] if v2 else 8,
        use_linear_projection=v2,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=1,
            max_position_embeddings=77,
            hidden_act='gelu' if v2 else 'quick_gelu',
        )
    )
    return vae.eval(), unet.eval(), text.eval()


def original_state(vae, unet, text, v2: bool = False) -> dict:
    """One state dict in the original layout."""
    state = {f'model.diffusion_model.{_unet_key(key, unet)}': value for key, value in unet.state_dict().items()}
    for key, value in vae.state_dict().items():
        new = f'first_stage_model.{_vae_key(key, len(vae.config.block_out_channels))}'
        linear = '.attn_1.' in new and value.ndim == 2
        state[new] = value[:, :, None, None] if linear else value
    state.update(
        _open_clip(text)
        if v2
        else {f'cond_stage_model.transformer.text_model.{k}': v for k, v in _without_inner(text.state_dict()).items()}
    )
    return {key: value.clone().contiguous() for key, value in state.items()}


def _without_inner(state: dict) -> dict:
    """`CLIPTextModel` has an inner `text_model` before transformers 5.6."""
    return {key.removeprefix('text_model.'): value for key, value in state.items()}


def _unet_key(key: str, unet) -> str:
    for ours, theirs in UNET_TOP.items():
        if key.startswith(f'{ours}.'):
            return key.replace(ours, theirs)
    layers = unet.config.layers_per_block
    for ours, theirs in RESNET.items():
        key = re.sub(rf'(resnets\.\d+)\.{ours}\.', rf'\1.{theirs}.', key)
    if match := re.match(r'down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)', key):
        block, kind, layer = int(match[1]), match[2], int(match[3])
        number = 1 + block * (layers + 1) + layer
        return f'input_blocks.{number}.{int(kind != "resnets")}.{match[4]}'
    if match := re.match(r'down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.*)', key):
        return f'input_blocks.{(int(match[1]) + 1) * (layers + 1)}.0.op.{match[2]}'
    if match := re.match(r'mid_block\.(resnets|attentions)\.(\d+)\.(.*)', key):
        return f'middle_block.{2 * int(match[2]) + int(match[1] != "resnets")}.{match[3]}'
    match = re.match(r'up_blocks\.(\d+)\.(resnets|attentions|upsamplers)\.(\d+)\.(.*)', key)
    block, kind, layer = int(match[1]), match[2], int(match[3])
    if kind == 'upsamplers':
        attention = hasattr(unet.up_blocks[block], 'attentions')
        return f'output_blocks.{block * (layers + 1) + layers}.{1 + attention}.{match[4]}'
    return f'output_blocks.{block * (layers + 1) + layer}.{int(kind != "resnets")}.{match[4]}'


def _vae_key(key: str, levels: int) -> str:
    key = re.sub(r'mid_block\.resnets\.(\d)', lambda m: f'mid.block_{int(m[1]) + 1}', key)
    for ours, theirs in VAE:
        key = re.sub(rf'(^|\.){re.escape(ours)}(?=\.|$)', rf'\1{theirs}', key)
    return re.sub(r'decoder\.up\.(\d)', lambda m: f'decoder.up.{levels - 1 - int(m[1])}', key)


def _open_clip(text) -> dict:
    """OpenCLIP's layout, with the additional last layer that the 2.x models do not use."""
    own = _without_inner(text.state_dict())
    prefix = 'cond_stage_model.model.'
    state = {
        f'{prefix}positional_embedding': own['embeddings.position_embedding.weight'],
        f'{prefix}token_embedding.weight': own['embeddings.token_embedding.weight'],
        f'{prefix}ln_final.weight': own['final_layer_norm.weight'],
        f'{prefix}ln_final.bias': own['final_layer_norm.bias'],
    }
    names = {
        'layer_norm1': 'ln_1',
        'layer_norm2': 'ln_2',
        'mlp.fc1': 'mlp.c_fc',
        'mlp.fc2': 'mlp.c_proj',
        'self_attn.out_proj': 'attn.out_proj',
    }
    layers = text.config.num_hidden_layers
    for layer in range(layers + 1):
        ours, theirs = f'encoder.layers.{min(layer, layers - 1)}.', (f'{prefix}transformer.resblocks.{layer}.')
        for leaf in ('weight', 'bias'):
            for a, b in names.items():
                state[f'{theirs}{b}.{leaf}'] = own[f'{ours}{a}.{leaf}']
            state[f'{theirs}attn.in_proj_{leaf}'] = torch.cat([own[f'{ours}self_attn.{x}_proj.{leaf}'] for x in 'qkv'])
    return state
