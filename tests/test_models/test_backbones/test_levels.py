"""Several levels of noise in one pass."""

import pytest
import torch
from mmengine.config import ConfigDict

from diff2in1_mm.creation.batch_labels import BatchLabels
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone

from ...family_models import save
from ...small_models import assert_same
from ...tiny_segmentation import build_model


@pytest.fixture(scope='module', params=['sd', 'ldm', 'flux', 'z_image'])
def folder(request, pipeline_folder, tmp_path_factory):
    return pipeline_folder if request.param == 'sd' else save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize('noise', [False, True])
def test_several_levels_are_those_of_single_passes(folder, noise):
    images = torch.rand(2, 3, 32, 40) * 2 - 1
    levels = [50, 150, 300]
    single = [DiffusionBackbone(folder, timestep=level, noise=noise).eval()(images) for level in levels]
    joined = DiffusionBackbone(folder, timestep=levels, noise=noise).eval()
    mean = DiffusionBackbone(folder, timestep=levels, noise=noise, join_levels='mean').eval()
    assert joined.out_channels == tuple(3 * c for c in mean.out_channels)
    for found, expected in zip(joined(images), zip(*single)):
        assert_same(found, torch.cat(expected, 1))
    for found, expected in zip(mean(images), zip(*single)):
        assert_same(found, torch.stack(expected).mean(0))


@pytest.mark.parametrize('cache', [dict(cached_images=4), dict(feature_cache=dict(dtype='fp32'))])
@pytest.mark.parametrize('join', ['concat', 'mean'])
def test_several_levels_are_kept_and_found_again(folder, tmp_path, counted, cache, join):
    if 'feature_cache' in cache:
        cache = dict(feature_cache=dict(cache['feature_cache'], folder=str(tmp_path)))
    images, options = torch.rand(2, 3, 32, 40) * 2 - 1, dict(timestep=[50, 150, 300], join_levels=join)
    expected = DiffusionBackbone(folder, **options).eval()(images)
    backbone = DiffusionBackbone(folder, **options, **cache).train()
    for passes in (2 * 3, 0):
        before = counted['predict']
        for found, plain in zip(backbone(images), expected):
            assert_same(found, plain)
        assert counted['predict'] - before == passes


def test_they_are_cached_projected_and_checked(pipeline_folder):
    backbone = DiffusionBackbone(
        pipeline_folder, timestep=[50, 300], cached_images=4, out_channels=[5], out_strides=[8]
    ).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(backbone(images)[0], backbone(images)[0]) and backbone(images)[0].shape == (2, 5, 4, 4)
    with pytest.raises(ValueError, match='backbone.timestep = 1000 is out of range'):
        DiffusionBackbone(pipeline_folder, timestep=[50, 1000])
    with pytest.raises(ValueError, match='but the list is empty'):
        DiffusionBackbone(pipeline_folder, timestep=[])
    with pytest.raises(ValueError, match=r"backbone.join_levels must be one of \('concat', 'mean'\), not 'sum'"):
        DiffusionBackbone(pipeline_folder, timestep=[50, 100], join_levels='sum')
    model = build_model(pipeline_folder, timestep=ConfigDict(a=[50, 300]).a, join_levels='mean')
    with pytest.raises(ValueError, match='features of one level of noise, but backbone.timestep names several'):
        BatchLabels(model, 'last_step')
