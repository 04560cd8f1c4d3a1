"""Labels as the mean of several views of an image."""

import math

import pytest
import torch
from mmengine.registry import init_default_scope

from diff2in1_mm.creation.create import create
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks import labeller_for
from diff2in1_mm.tasks.label_views import LabelViews

from ..tiny_runs import FrozenBackbone
from ..tiny_segmentation import build_dataset, build_model, make_images
from .test_segmentation import sample, segmentor


def averaged(views, answers):
    """What comes of a model that says one thing after the other, of a picture of one pixel."""
    answers = iter(answers)
    images = torch.zeros(1, 3, 1, 1)
    mean, agreement = views.average(None, images, lambda seen: torch.tensor(next(answers)).view(1, -1, 1, 1))
    return mean.flatten(), agreement.item()


def test_mean_and_agreement():
    two = LabelViews(scales=[1, 1])
    mean, agreement = averaged(two, [[1.0, 0.0], [0.0, 1.0]])
    assert mean.tolist() == [0.5, 0.5] and agreement == pytest.approx(0.5)
    mean, agreement = averaged(two, [[0.7, 0.3], [0.7, 0.3]])
    assert mean.tolist() == pytest.approx([0.7, 0.3]) and agreement == 1  # all unsure of the same
    divergence = (0.9 * math.log(0.9 / 0.7) + 0.1 * math.log(0.1 / 0.3)) / 2
    divergence += (0.5 * math.log(0.5 / 0.7) + 0.5 * math.log(0.5 / 0.3)) / 2
    assert averaged(two, [[0.9, 0.1], [0.5, 0.5]])[1] == pytest.approx(math.exp(-divergence))


def test_views_come_back_to_the_images_own_pixels():
    """A model that says of each pixel what it shows agrees with itself."""
    images = torch.linspace(0.1, 0.9, 16).expand(1, 3, 12, 16)
    seen = []

    def shown(view):
        seen.append(view.shape[-2:])
        return torch.stack([view[:, 0], 1 - view[:, 0]], 1)

    mean, agreement = LabelViews(flip=True, scales=[1, 2]).average(None, images, shown)
    assert seen == [(12, 16)] * 2 + [(24, 32)] * 2
    assert (mean[:, 0] - images[:, 0]).abs().max() < 0.02 and agreement.min() > 0.999


def test_each_view_has_features_of_its_own():
    """Also where those of the image as it is are served, which are not made again."""
    model = segmentor()
    model.backbone = FrozenBackbone()
    images = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    labeller = labeller_for(model, options=dict(flip=True, scales=[1, 0.5]))
    alone = labeller.predict(model, images, [sample()] * 2)
    model.backbone.images_seen = 0
    features = model.backbone.features(images)
    with model.backbone.serve(features):
        served = labeller.predict(model, images, [sample()] * 2)
    assert model.backbone.images_seen == 4 * 2
    both = [model.encode_decode(x, [dict(img_shape=x.shape[-2:])]).softmax(1) for x in (images, images.flip(-1))]
    plain_and_mirrored = labeller_for(model, options=dict(flip=True)).predict(model, images, [sample()] * 2)
    mean = (both[0] + both[1].flip(-1)) / 2
    for i, (one, other) in enumerate(zip(alone, served)):
        torch.testing.assert_close(one.confidence, other.confidence)
        assert torch.equal(one.labels, other.labels)
        found = plain_and_mirrored[i]
        torch.testing.assert_close(found.confidence, mean[i].amax(0) * found.agreement)
        assert torch.equal(found.labels, mean[i].argmax(0)) and found.agreement.min() < 0.999


def test_binary_head():
    model = segmentor(
        num_classes=2, out_channels=1, threshold=0.3, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)
    )
    images = torch.randn(1, 3, 32, 32) * 4
    (found,) = labeller_for(model, options=dict(flip=True)).predict(model, images, [sample()])
    meta = [dict(img_shape=(32, 32))]
    both = [model.encode_decode(images, meta), model.encode_decode(images.flip(-1), meta).flip(-1)]
    probability = sum(scores[0, 0].sigmoid() for scores in both) / 2
    assert torch.equal(found.labels, (probability > 0.3).long())


def test_draws_of_noise_at_creation_are_in_the_record(tmp_path, pipeline_folder):
    init_default_scope('mmseg')
    model = build_model(pipeline_folder, noise=True, timestep=200).eval()
    images = torch.rand(1, 3, 32, 48) * 2 - 1
    first, second, again = [], [], []
    for number, found in ((0, first), (1, second), (1, again)):
        with model.backbone.drawing(number):
            found.extend(model.backbone.features(images))
    assert torch.equal(second[0], again[0]) and not torch.allclose(first[0], second[0])
    dataset = build_dataset(make_images(tmp_path / 'data', count=1))
    create(model, dataset, tmp_path / 's', labelling=dict(draws=3), confidence=0.3, T=100, steps=1)
    store = SyntheticStore(tmp_path / 's')
    assert store.settings['labelling'] == dict(draws=3)
    assert [0.3 < record.quality['agreement'] < 1 for record in store.records()] == [True]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(flip=1), 'must be True or False'),
        (dict(scales=[]), 'must be a list of factors'),
        (dict(scales=[0]), 'must be a list of factors'),
        (dict(scales=0.5), 'must be a list of factors'),
        (dict(draws=0), 'whole number of at least 1'),
        (dict(draws=2), 'TinyBackbone adds none: set backbone.noise=True, or leave draws out'),
        (dict(flips=True), "no labelling option 'flips'.*did you mean 'flip'"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        labeller_for(segmentor(), options=options)
