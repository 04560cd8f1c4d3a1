"""Features of enlarged images."""

import pytest
import torch
import torch.nn.functional as F

from diff2in1_mm.creation.batch_labels import BatchLabels
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone

from ...family_models import save
from ...small_models import assert_same
from ...tiny_segmentation import build_model


@pytest.fixture(scope='module', params=['sd', 'sd3'])
def folder(request, pipeline_folder, tmp_path_factory):
    return pipeline_folder if request.param == 'sd' else save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize('size', [(32, 48), (41, 30)])
def test_maps_are_those_of_the_enlarged_image_and_finer(folder, size):
    plain, finer = (DiffusionBackbone(folder, image_scale=scale).eval() for scale in (1, 2))
    assert finer.strides == tuple(stride // 2 for stride in plain.strides)
    images = torch.rand(2, 3, *size) * 2 - 1
    enlarged = F.interpolate(images, scale_factor=2.0, mode='bicubic').clamp(-1, 1)
    for found, expected, stride in zip(finer(images), plain(enlarged), finer.strides):
        assert_same(found, expected)
        assert found.shape[2:] == tuple(-(-side // stride) for side in size)


def test_they_are_projected_to_strides_of_the_image(folder):
    backbone = DiffusionBackbone(folder, image_scale=2, out_channels=[5, 6], out_strides=[4, 8]).eval()
    assert [tuple(feature.shape[1:]) for feature in backbone(torch.zeros(1, 3, 32, 40))] == [(5, 8, 10), (6, 4, 5)]


@pytest.mark.parametrize(
    'options, words',
    [
        (
            dict(image_scale=3),
            r'image_scale = 3 must be a whole number that divides the strides of the taps \[4, 8, 16\]',
        ),
        (dict(image_scale=0), 'image_scale = 0 must be a whole number'),
        (dict(image_scale=1.5), 'image_scale = 1.5 must be a whole number'),
        (dict(image_scale=2, keep_padding=True), 'attention_maps and keep_padding are for their own size: set it to 1'),
        (dict(image_scale=2, attention_maps=True), 'attention_maps and keep_padding are for their own size'),
    ],
)
def test_what_does_not_go_with_it_is_named(pipeline_folder, options, words):
    with pytest.raises(ValueError, match=words):
        DiffusionBackbone(pipeline_folder, **options)


def test_labels_of_the_last_step_are_of_images_as_they_are(pipeline_folder):
    with pytest.raises(ValueError, match="backbone.image_scale enlarges them: set it to 'fresh'"):
        BatchLabels(build_model(pipeline_folder, image_scale=2), 'last_step')
