"""Small checkpoints in the key layout of the published ones, from modules of ours."""
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from .original_layout import original_state

WIDTH = 64  # of the conditions


def small_diffusion(seed: int = 0):
    """VAE of stride 8 and a U-Net with four levels, as Stable Diffusion's but narrow."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        down_block_types=['DownEncoderBlock2D'] * 4, up_block_types=['UpDecoderBlock2D'] * 4,
        block_out_channels=[32] * 4, layers_per_block=1, latent_channels=4)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=[32, 32, 64, 64], layers_per_block=2,
        down_block_types=['CrossAttnDownBlock2D'] * 3 + ['DownBlock2D'],
        up_block_types=['UpBlock2D'] + ['CrossAttnUpBlock2D'] * 3,
        cross_attention_dim=WIDTH, attention_head_dim=8)
    return vae.eval(), unet.eval()


class _NoText:
    """Stands for the text encoder, which VPD's checkpoints do not hold."""

    def state_dict(self):
        return {}


def vpd_part(vae, unet, tokens: int, prefix: str = '') -> dict:
    """What VPD's checkpoints have in common."""
    state = original_state(vae, unet, _NoText())
    names = {'model.diffusion_model.': 'unet.unet.diffusion_model.',
             'first_stage_model.': 'encoder_vq.'}
    found = {}
    for key, value in state.items():
        for theirs, ours in names.items():
            if key.startswith(theirs) and not key.startswith('first_stage_model.decoder.'):
                found[prefix + ours + key[len(theirs):]] = value
    generator = torch.Generator().manual_seed(5)
    for name, shape in (('class_embeddings', (tokens, WIDTH)), ('gamma', (WIDTH, )),
                        ('text_adapter.fc.0.weight', (WIDTH, WIDTH)),
                        ('text_adapter.fc.0.bias', (WIDTH, )),
                        ('text_adapter.fc.2.weight', (WIDTH, WIDTH)),
                        ('text_adapter.fc.2.bias', (WIDTH, ))):
        found[prefix + name] = torch.randn(shape, generator=generator)
    return found


def randomised(module, seed: int = 1) -> dict:
    """State dict of a module with weights that show in its output."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            scale = 1 / max(1, value[0].numel() if value.ndim > 1 else 1) ** 0.5
            value = noise.abs() + 0.5 if name.endswith('running_var') else noise * scale
        state[name] = value
    return state
