import json

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from diff2in1_mm.diffusion.taps import FeatureTaps, block_taps, select_taps, unet_taps

SD15 = dict(sample_size=64, block_out_channels=[320, 640, 1280, 1280], cross_attention_dim=768, attention_head_dim=8)


def test_stable_diffusion_has_the_25_released_taps():
    with torch.device('meta'):
        unet = UNet2DConditionModel(**SD15)
    groups = select_taps(unet_taps(unet, latent_stride=8), 'all')
    channels = {group[0].stride: [tap.channels for tap in group] for group in groups}
    assert {stride: sum(c) for stride, c in channels.items()} == {8: 2560, 16: 4160, 32: 7040, 64: 7680}
    assert sum(map(len, groups)) == 25
    decoder = select_taps(unet_taps(unet, latent_stride=8), 'decoder')
    assert [(tap.stride, tap.channels) for (tap,) in decoder] == [(8, 320), (16, 640), (32, 1280), (64, 1280)]
    assert [tap.name for (tap,) in decoder] == [
        'up_blocks.3.attentions.2',
        'up_blocks.2.attentions.1',
        'up_blocks.1.attentions.1',
        'up_blocks.0.resnets.1',
    ]


def test_the_block_of_flux_is_that_of_gan_et_al():
    names = [f'transformer_blocks.{i}.norm1' for i in range(19)]
    names += [f'single_transformer_blocks.{i}.norm' for i in range(38)]
    ((tap,),) = select_taps(block_taps(names, 16, 3072), 'decoder')
    assert names.index(tap.name) == 28


def test_the_taps_equal_the_released_code(golden):
    """Every golden map, through diffusers' own conversion of the original key layout."""
    spec = json.loads((golden / 'unet_taps.json').read_text())
    values = np.load(golden / 'unet_taps.npz')
    fill = _load_fill(golden)
    prefix = spec['prefix']
    state = {
        f'model.diffusion_model.{key}': torch.from_numpy(fill.fill(prefix + key, shape))
        for key, shape in spec['state'].items()
    }
    unet = UNet2DConditionModel(**spec['diffusers']['UNet2DConditionModel_kwargs']).eval()
    unet.load_state_dict(convert_ldm_unet_checkpoint(state, dict(unet.config)))
    inputs = [torch.from_numpy(fill.fill(i['name'], i['shape'], i['kind'])) for i in spec['inputs']]

    names = {8: 'highest', 16: 'high', 32: 'mid', 64: 'low'}
    groups = select_taps(unet_taps(unet, latent_stride=8), 'all')
    errors = spec['float32_error']['values']
    checked = 0
    for timestep in (0, 1):
        with torch.no_grad(), FeatureTaps(unet, [t.name for g in groups for t in g]) as maps:
            maps_eps = unet(inputs[0], timestep, inputs[1]).sample
        found = {'eps': maps_eps}
        for group in groups:
            found.update({f'{names[group[0].stride]}.{i}': maps[tap.name] for i, tap in enumerate(group)})
        for name, tensor in found.items():
            key = f'{prefix}t{timestep}.{name}'
            assert list(tensor.shape) == list(values[f'{key}.shape'])
            got = tensor.flatten()[fill.positions(key, tensor.numel())].double().numpy()
            # Errors are listed for t = 0; those of t = 1 are of the same scale.
            tolerance = 5 * errors[f't0.{name}']['max_abs']
            assert np.abs(got - values[f'{key}.values']).max() <= tolerance, key
            checked += 1
    assert checked == 52


def _load_fill(golden):
    import importlib.util

    spec = importlib.util.spec_from_file_location('golden_fill', golden / 'fill.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_unknown_taps_are_named(diffusion):
    with pytest.raises(ValueError, match=r"\['nowhere'\]; the names are \['conv_in'"):
        select_taps(diffusion.taps(), ['conv_in', 'nowhere'])
    with pytest.raises(ValueError, match="'decoder', 'all' or a list"):
        select_taps(diffusion.taps(), 'encoder')


def test_a_denoiser_without_a_middle_block(diffusion):
    """As distilled models have it (``mid_block_type`` is null in BK-SDM-Small)."""
    unet = UNet2DConditionModel.from_config(diffusion.unet.config, mid_block_type=None)
    taps, whole = unet_taps(unet, diffusion.latent_stride), diffusion.taps()
    assert taps == [tap for tap in whole if tap.name != 'mid_block'] and len(taps) < len(whole)
    assert select_taps(taps, 'decoder') == select_taps(whole, 'decoder')
    with pytest.raises(ValueError, match=r"but got \['mid_block'\]; the names are \['conv_in'"):
        select_taps(taps, ['mid_block'])


def test_chosen_names_keep_the_order_of_execution(diffusion):
    names = ['up_blocks.2.resnets.0', 'mid_block', 'conv_in']
    groups = select_taps(diffusion.taps(), names)
    assert [[tap.name for tap in group] for group in groups] == [['conv_in', 'up_blocks.2.resnets.0'], ['mid_block']]


def test_no_hook_stays_behind(diffusion):
    with pytest.raises(RuntimeError):
        with FeatureTaps(diffusion.unet, ['mid_block']):
            raise RuntimeError
    assert not diffusion.unet.mid_block._forward_hooks
