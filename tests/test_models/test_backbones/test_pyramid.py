import pytest
import torch

from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone
from diff2in1_mm.models.backbones.pyramid import pyramid_level

from ...family_models import save


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save('sd3', tmp_path_factory.mktemp('sd3'))


@pytest.mark.parametrize('size', [(64, 64), (37, 50)])
def test_a_transformer_feeds_a_neck_of_four_strides_with_trained_levels(folder, size):
    backbone = DiffusionBackbone(folder, out_channels=[6, 6, None, 5], out_strides=[2, 4, 8, 16])
    images = torch.rand(1, 3, *size) * 2 - 1
    maps = backbone(images)
    assert [tuple(m.shape[1:]) for m in maps[:2]] == [(6, -(-size[0] // s), -(-size[1] // s)) for s in (2, 4)]
    assert maps[2].shape[1] == 32 and maps[3].shape[1:] == (5, -(-size[0] // 16), -(-size[1] // 16))
    sum(m.sum() for m in maps if m.requires_grad).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert not any('transformer' in name for name, _ in backbone.named_parameters())


def test_a_finer_level_tells_apart_what_one_token_holds():
    level = pyramid_level(4, 3, 16, 4)
    made = level(torch.randn(1, 4, 2, 2))
    assert made.shape == (1, 3, 8, 8)
    assert made[0, 0, :4, :4].std() > 1e-3  # all 16 pixels are of one token


def test_strides_that_cannot_be_had_are_named():
    with pytest.raises(ValueError, match='out_strides has 6, .* take 4, 8, 16, 32'):
        pyramid_level(4, 3, 16, 6)


def test_without_channels_the_map_is_resized_as_it_is(folder):
    backbone = DiffusionBackbone(folder, out_strides=[4, 8])
    assert backbone.projections is None and [m.shape[1] for m in backbone(torch.zeros(1, 3, 32, 32))] == [32, 32]
