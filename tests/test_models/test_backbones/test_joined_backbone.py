"""A trained backbone beside the frozen diffusion model."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, init_default_scope

import diff2in1_mm  # noqa: F401
from diff2in1_mm.models.backbones.joined_backbone import JoinedBackbone

RESNET = dict(
    type='ResNet', depth=18, base_channels=8, norm_cfg=dict(type='BN'), norm_eval=False, out_indices=(0, 1, 2)
)


@pytest.fixture
def joined(pipeline_folder):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    return MODELS.build(dict(type='JoinedBackbone', diffusion=pipeline_folder, beside=RESNET))


def test_maps_are_those_of_both(joined, pipeline_folder):
    images = torch.rand(2, 3, 50, 70) * 2 - 1
    alone = MODELS.build(dict(type='DiffusionBackbone', diffusion=pipeline_folder))
    joined.eval()
    found = joined(images)
    for feature, own, other in zip(found, alone(images), joined.beside(images)):
        assert torch.equal(feature[:, : own.shape[1]], own)
        resized = F.interpolate(other, own.shape[-2:], mode='bilinear', align_corners=False)
        torch.testing.assert_close(feature[:, own.shape[1] :], resized)
    assert joined.out_channels == tuple(feature.shape[1] for feature in found)
    assert joined.strides == alone.strides


def test_only_the_other_backbone_is_trained_and_the_diffusion_model_runs_once(joined, counted):
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    joined.train()
    features = joined.features(images)
    with joined.serve(features):  # as the hook does, for both parameter sets
        sum(feature.sum() for feature in joined(images)).backward()
        joined(images)
    assert counted['predict'] == counted['encode'] == 2
    assert joined.frozen
    names = {name for name, parameter in joined.named_parameters() if parameter.grad is not None}
    assert names and all(name.startswith('beside.') for name, _ in joined.named_parameters())


def test_another_number_of_maps_is_refused(pipeline_folder):
    init_default_scope('mmseg')
    with pytest.raises(ValueError, match='gives 4 maps and the diffusion model 3, of .* choose its out_indices'):
        JoinedBackbone(dict(RESNET, out_indices=(0, 1, 2, 3)), diffusion=pipeline_folder)


def test_padding_that_the_other_backbone_has_not_is_refused(pipeline_folder):
    init_default_scope('mmseg')
    with pytest.raises(ValueError, match='maps of the padded image over those of the image: leave keep_padding out'):
        JoinedBackbone(dict(RESNET), diffusion=pipeline_folder, keep_padding=True)
