import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from diff2in1_mm.diffusion.attention_maps import attention_layers, mean_attention
from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.taps import FeatureTaps

from ..golden_values import Golden

SD15 = dict(sample_size=64, block_out_channels=[320, 640, 1280, 1280], cross_attention_dim=768, attention_head_dim=8)


@pytest.fixture
def reference(golden):
    """The golden values, and the U-Net of the reference with its weights."""
    values = Golden(golden, 'vpd_unet')
    options = json.loads((golden / 'unet_taps.json').read_text())['diffusers']
    unet = UNet2DConditionModel(**options['UNet2DConditionModel_kwargs']).eval()
    state = {key.replace('unet.', 'model.', 1): value for key, value in values.state().items()}
    unet.load_state_dict(convert_ldm_unet_checkpoint(state, dict(unet.config)))
    return values, unet


def test_every_layer_and_their_mean_equal_the_vpd_code(reference):
    values, unet = reference
    layers = attention_layers(unet, latent_stride=8)
    names = values.spec['diffusers']['layers']
    assert sorted(sum(layers.values(), [])) == sorted(
        entry['diffusers'] for key, entry in names.items() if 'mid' not in key
    )
    wanted = [entry['diffusers'] for entry in names.values()]
    with torch.no_grad(), FeatureTaps(unet, wanted) as maps:
        unet(values.input('latents'), 1, values.input('context'))
    for key, entry in names.items():
        # errors are listed for the means, which are of the layers' scale
        assert values.error(key, maps[entry['diffusers']]) <= 5 * entry['max_abs']
    for output, stride, side in (('out1', 16, 32), ('out2', 32, 16)):
        mean = mean_attention(maps, layers[stride], (side, side))
        name = f'{output}.attention'
        assert values.error(name, mean) <= 5 * values.rounding(name)


def test_stable_diffusion_has_maps_at_two_strides():
    with torch.device('meta'):
        unet = UNet2DConditionModel(**SD15)
    layers = attention_layers(unet, latent_stride=8)
    assert {stride: len(names) for stride, names in layers.items()} == {16: 5, 32: 5}
    assert layers[16][0] == 'up_blocks.2.attentions.0.transformer_blocks.0.attn2'
    assert layers[16][-1] == 'down_blocks.1.attentions.1.transformer_blocks.0.attn2'


@pytest.mark.parametrize('size', [(8, 8), (4, 12)])
def test_probabilities_sum_to_one_and_leave_the_pass_as_it_is(diffusion, size):
    latents, context = torch.randn(2, 4, *size), torch.randn(2, 7, 16)
    layers = attention_layers(diffusion.unet, diffusion.latent_stride)
    assert set(layers) == {8, 16}
    names = sum(layers.values(), [])
    plain = diffusion.predict(latents, 1, Condition(context))[0]
    output, maps = diffusion.predict(latents, 1, Condition(context), names)
    assert torch.equal(output, plain) and set(maps) == set(names)
    for stride, chosen in layers.items():
        height, width = (4 * side // stride for side in size)
        mean = mean_attention(maps, chosen, (height, width))
        assert mean.shape == (2, 7, height, width) and (mean >= 0).all()
        torch.testing.assert_close(mean.sum(1), torch.ones(2, height, width))
