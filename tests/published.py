"""Small checkpoints in the key layout of the published ones, from modules of ours."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from .original_layout import original_state

WIDTH = 64  # of the conditions


def small_diffusion(seed: int = 0):
    """VAE of stride 8 and a U-Net with four levels, as Stable Diffusion's but narrow."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        down_block_types=['DownEncoderBlock2D'] * 4,
        up_block_types=['UpDecoderBlock2D'] * 4,
        block_out_channels=[32] * 4,
        layers_per_block=1,
        latent_channels=4,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[32, 32, 64, 64],
        layers_per_block=2,
        down_block_types=['CrossAttnDownBlock2D'] * 3 + ['DownBlock2D'],
        up_block_types=['UpBlock2D'] + ['CrossAttnUpBlock2D'] * 3,
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
    )
    return vae.eval(), unet.eval()


class _NoText:
    """Stands for the text encoder, which VPD's checkpoints do not hold."""

    def state_dict(self):
        return {}


def vpd_part(vae, unet, tokens: int, prefix: str = '') -> dict:
    """What VPD's checkpoints have in common."""
    state = original_state(vae, unet, _NoText())
    names = {'model.diffusion_model.': 'unet.unet.diffusion_model.', 'first_stage_model.': 'encoder_vq.'}
    found = {}
    for key, value in state.items():
        for theirs, ours in names.items():
            if key.startswith(theirs) and not key.startswith('first_stage_model.decoder.'):
                found[prefix + ours + key[len(theirs) :]] = value
    generator = torch.Generator().manual_seed(5)
    for name, shape in (
        ('class_embeddings', (tokens, WIDTH)),
        ('gamma', (WIDTH,)),
        ('text_adapter.fc.0.weight', (WIDTH, WIDTH)),
        ('text_adapter.fc.0.bias', (WIDTH,)),
        ('text_adapter.fc.2.weight', (WIDTH, WIDTH)),
        ('text_adapter.fc.2.bias', (WIDTH,)),
    ):
        value = torch.randn(shape, generator=generator)
        found[prefix + name] = value / 8 if 'weight' in name else value
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


CLASSES = 3
MAPS = [32, 32, 64, 64]  # channels of the U-Net's decoder, finest first
# Cross-attention is at strides 16 and 32, as in Stable Diffusion.
MAPS_WITH_ATTENTION = [32, 32 + CLASSES, 64 + CLASSES, 64]
FPN = dict(type='FPN', in_channels=MAPS_WITH_ATTENTION, out_channels=16, num_outs=4)
FPN_HEAD = dict(
    type='FPNHead',
    in_channels=[16] * 4,
    in_index=[0, 1, 2, 3],
    feature_strides=[8, 16, 32, 64],
    channels=16,
    num_classes=CLASSES,
    norm_cfg=dict(type='BN'),
    align_corners=False,
    loss_decode=dict(type='CrossEntropyLoss'),
)
DEPTH_HEAD = dict(
    in_channels=MAPS,
    embed_dim=16,
    feature_dim=128,
    num_deconv_layers=3,
    num_deconv_filters=(16, 8, 8),
    fmap_border=(1, 1),
    max_depth=10.0,
)
_DEPTH_NAMES = (
    ('conv1.', 'encoder.layer1.'),
    ('conv2.', 'encoder.layer2.0.'),
    ('conv_aggregation.', 'encoder.out_layer.'),
    ('decoder.', 'decoder.'),
    ('depth_pred_layer.', 'last_layer_depth.'),
)


def vpd_segmentation(vae, unet, neck: dict, head: dict) -> dict:
    """As ``VPDSeg`` saves itself."""
    return {
        **vpd_part(vae, unet, CLASSES),
        'sd_model.betas': torch.zeros(1000),
        **{f'neck.{key}': value for key, value in neck.items()},
        **{f'decode_head.{key}': value for key, value in head.items()},
    }


def vpd_depth(vae, unet, head: dict) -> dict:
    """As ``VPDDepth`` saves itself: without the U-Net's output convolution."""
    state = {
        key: value for key, value in vpd_part(vae, unet, 4, 'encoder.').items() if '.diffusion_model.out.' not in key
    }
    for key, value in head.items():
        ours, theirs = next(pair for pair in _DEPTH_NAMES if key.startswith(pair[0]))
        state[theirs + key[len(ours) :]] = value
    return state


def mmseg_depth(vae, unet, head: dict) -> dict:
    """As MMSegmentation's ``VPD`` saves itself: all of the U-Net, the last scene is the mean."""
    state = vpd_part(vae, unet, 4, 'backbone.')
    scenes = state['backbone.class_embeddings']
    state['backbone.class_embeddings'] = torch.cat([scenes, scenes.mean(0, keepdim=True)])
    state.update({f'decode_head.{key}': value for key, value in head.items()})
    return state


_AGGREGATOR_NAMES = (
    ('mix_highest.', 'highest_feature_mix_conv.'),
    ('mix_high.', 'high_feature_mix_conv.'),
    ('mix_mid.', 'mid_feature_mix_conv.'),
    ('highest.', 'highest_feature_conv.0.'),
    ('high.', 'high_feature_conv.0.'),
    ('mid.', 'mid_feature_conv.0.'),
    ('low.', 'low_feature_conv.0.'),
    ('norm_up', 'bn_up'),
    ('up', 'conv_up'),
)
_INSIDE = (
    ('norm1.running_mean', 'stored_mean1'),
    ('norm1.running_var', 'stored_var1'),
    ('norm2.running_mean', 'stored_mean2'),
    ('norm2.running_var', 'stored_var2'),
    ('shortcut.', 'conv_sc.'),
    ('.left', '.u0'),
    ('.sigma', '.sv0'),
)
_DECODER_NAMES = (
    ('bottleneck.', 'conv2.'),
    ('coarse.', 'out_conv_res8.'),
    ('refine.0.', 'out_conv_res4.'),
    ('refine.1.', 'out_conv_res2.'),
    ('refine.2.', 'out_conv_res1.'),
    *((f'ups.{i}.layers.', f'up{i + 1}._net.') for i in range(4)),
)


def released_aggregator(neck: dict) -> dict:
    """As the released ``SNmodule`` saves itself, with one of its unused layers."""
    state = {'mlp.layers.0.weight': torch.zeros(4, 4)}
    for key, value in neck.items():
        if '.norm' in key and key.endswith('num_batches_tracked'):
            continue  # the reference does not count there
        ours, theirs = next(pair for pair in _AGGREGATOR_NAMES if key.startswith(pair[0]))
        key = theirs + key[len(ours) :]
        for a, b in _INSIDE:
            key = key.replace(a, b)
        state[key] = value
    return state


def released_decoder(decoder: dict) -> dict:
    """As the released ``Decoder`` saves itself."""
    state = {}
    for key, value in decoder.items():
        ours, theirs = next(pair for pair in _DECODER_NAMES if key.startswith(pair[0]))
        state[theirs + key[len(ours) :]] = value
    return state
