"""Full-size published models by their key lists: names and shapes only, nothing is allocated."""

import json

import pytest
import torch
from mmengine.config import Config

import diff2in1_mm  # noqa: F401
from diff2in1_mm.conversion.folder import complete_weights, config_text
from diff2in1_mm.conversion.sources import convert, recognise

pytest.importorskip('mmseg')


@pytest.fixture
def official(golden):
    content = json.loads((golden / 'official_keys.json').read_text())
    return {
        name: {
            key: torch.empty(shape, dtype=getattr(torch, dtype), device='meta')
            for key, (shape, dtype) in content[name]['keys'].items()
        }
        for name in ('sn_module', 'bae_decoder', 'vpd_seg')
    }


def fitted(source, converted, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(config_text('converted', source, converted))
    cfg = Config.fromfile(path)
    return cfg, complete_weights(converted, cfg)


def test_each_list_is_recognised(official):
    names = {name: [source.name for source in recognise(state)] for name, state in official.items()}
    assert names == dict(
        sn_module=['the aggregator of Diff-2-in-1'],
        bae_decoder=['the normal decoder of Diff-2-in-1'],
        vpd_seg=['VPD segmentation'],
    )


def test_the_normals_fill_the_released_architecture(official, golden, tmp_path):
    source, converted = convert({'a': official['sn_module'], 'b': official['bae_decoder']})
    assert len(converted.keys.used) == 121 - 50 + 60
    listed = json.loads((golden / 'official_keys.json').read_text())['sn_module']
    assert set(converted.keys.unused) == set(listed['unused_in_forward'])
    cfg, weights = fitted(source, converted, tmp_path)
    assert cfg.model.neck.in_channels == [2560, 4160, 7040, 7680]
    assert cfg.model.backbone.timestep == 0 and cfg.model.backbone.noise
    assert all(name.endswith('num_batches_tracked') for name in converted.missing)
    assert len(weights) == len(converted.keys.used) + len(converted.missing)


def test_vpd_segmentation_is_used_to_the_last_key(official, tmp_path):
    source, converted = convert({'vpd.pth': official['vpd_seg']})
    assert len(converted.keys.used) == 862
    assert set(converted.keys.unused.values()) == {'noise schedule, which the diffusers folder has as settings'}
    cfg, weights = fitted(source, converted, tmp_path)
    assert cfg.model.neck.in_channels == [320, 790, 1430, 1280]
    backbone = cfg.model.backbone
    assert backbone.attention_maps and not backbone.scale_latents and backbone.timestep == 1
    assert not backbone.get('noise') and not backbone.get('sample_posterior')
    assert backbone.diffusion.source == f'{tmp_path}/diffusion'
    assert cfg.model.decode_head.num_classes == 150
    assert cfg.custom_hooks[0].creation.diffusion.startswith('stable-diffusion')
    assert converted.embeddings.shape == (150, 768)
    unet = converted.parts.unet
    assert unet.config.cross_attention_dim == 768 and unet.config.attention_head_dim == 8
    assert all(tensor.is_meta for tensor in unet.state_dict().values())
    assert {name.split('.')[1] for name in converted.missing} == {'decoder'}
    assert len(weights) == 60


def test_a_neck_of_another_shape_is_named(official):
    state = dict(official['vpd_seg'])
    state['neck.lateral_convs.1.conv.weight'] = torch.empty(256, 700, 1, 1, device='meta')
    with pytest.raises(ValueError, match=r'takes maps of \[320, 700, 1430, 1280\] channels, but'):
        convert({'vpd.pth': state})


def test_a_head_of_another_architecture_is_named(official, tmp_path):
    state = dict(official['vpd_seg'])
    state['decode_head.scale_heads.0.0.conv.weight'] = torch.empty(256, 256, 1, 1, device='meta')
    source, converted = convert({'vpd.pth': state})
    with pytest.raises(ValueError, match='of another architecture than the published one'):
        fitted(source, converted, tmp_path)
    del state['decode_head.scale_heads.0.0.conv.weight']
    source, converted = convert({'vpd.pth': state})
    with pytest.raises(ValueError, match="lacks what 'decode_head.scale_heads.0.0.conv.weight'"):
        fitted(source, converted, tmp_path)


def test_a_pair_that_does_not_belong_together_is_named(official):
    decoder = dict(official['bae_decoder'])
    decoder['conv2.weight'] = torch.empty(2048, 1024, 1, 1, device='meta')
    with pytest.raises(ValueError, match='takes 1024 channels, but the aggregator gives 2048: the'):
        convert({'a': official['sn_module'], 'b': decoder})
    aggregator = dict(official['sn_module'])
    del aggregator['conv_up1.weight']
    with pytest.raises(ValueError, match="a and b: the weight 'up1.weight' is missing; the file"):
        convert({'a': aggregator, 'b': official['bae_decoder']})
