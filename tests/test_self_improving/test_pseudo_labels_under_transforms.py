"""Transforms and CutMix of the student's view inside theta_E's step."""

import pytest
import torch
from mmengine.registry import init_default_scope

from diff2in1_mm.preflight.run import check_views
from diff2in1_mm.self_improving.pseudo_labels import ViewSettings

from .test_pseudo_labels import attach, batch, build, loss_of

COLOURS = [dict(type='PhotoMetricDistortion')]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def step(backbone='FrozenBackbone', labelled=True, viewing=True, **view):
    """Targets, images and maps of a step, and the images before."""
    model = build(backbone)
    batch_pass = attach(model, student_view=view or 'same')
    batch_pass.viewing, batch_pass.theta_c = viewing, batch_pass.theta_c if labelled else None
    seen = {}
    model.backbone.register_forward_hook(
        lambda module, args, maps: seen.update(images=args[0], maps=maps[0]) if model.training else None
    )
    inputs, samples = batch(synthetic=(0, 1, 3))
    loss_of(model, inputs, samples)
    return torch.stack([s.gt_sem_seg.data[0] for s in samples]), seen['images'], seen['maps'], inputs, model


def changed(images, inputs):
    return [not torch.equal(a, b) for a, b in zip(images, inputs)]


@pytest.mark.parametrize('backbone', ['TinyBackbone', 'FrozenBackbone'])
def test_theta_c_labels_the_image_as_it_is(backbone):
    targets = step(backbone)[0]
    own, images, maps, inputs, model = step(backbone, transforms=COLOURS)
    assert torch.equal(own, targets) and changed(images, inputs) == [True, True, False, True]
    if backbone == 'FrozenBackbone':
        assert torch.equal(maps, model.backbone.features(images)[0])


def test_real_images_too():
    both = dict(transforms=COLOURS, of='both')
    _, images, maps, inputs, model = step(**both)
    assert all(changed(images, inputs)) and torch.allclose(maps, model.backbone.features(images)[0], atol=1e-5)
    assert changed(*step(viewing=False, **both)[1::2][:2]) == [True, True, False, True]


def test_a_control_sees_its_real_images_so():
    targets, images, _, inputs, _ = step(labelled=False, transforms=COLOURS, of='both')
    assert changed(images, inputs) == [False, False, True, False]  # nothing labels the others
    assert torch.equal(targets, torch.stack([s.gt_sem_seg.data[0] for s in batch()[1]]))


def test_boxes_come_with_their_labels():
    targets = step()[0]
    own, images, maps, inputs, model = step(cutmix=1.0)
    assert torch.equal(own[2], targets[2]) and torch.equal(images[2], inputs[2])
    for i in (0, 1, 3):
        donors = [j for j in (0, 1, 3) if j != i]
        foreign = (images[i] != inputs[i]).any(0)
        assert 0.3 < foreign.float().mean() < 0.7
        fits = [
            torch.equal(images[i][:, foreign], inputs[j][:, foreign])
            and torch.equal(own[i], torch.where(foreign, targets[j], targets[i]))
            for j in donors
        ]
        assert any(fits)
    assert torch.allclose(maps, model.backbone.features(images)[0], atol=1e-5)


def test_what_a_model_cannot_follow_is_refused():
    model, both = build('FrozenBackbone'), ViewSettings(student_view=dict(transforms=COLOURS, of='both')).student_view
    check_views(model, both, 'eval')
    model.backbone.feature_cache = 'a folder'
    check_views(model, ViewSettings(student_view=COLOURS).student_view, 'eval')
    with pytest.raises(ValueError, match="of='both' shows new real images .* leave one of them out"):
        check_views(model, both, 'eval')
    model.label_tasks = ('depth',)
    with pytest.raises(ValueError, match='cutmix joins label maps'):
        check_views(model, ViewSettings(student_view=dict(cutmix=0.5)).student_view, 'eval')
    with pytest.raises(ValueError, match='student_view must be one of'):
        ViewSettings(student_view=3)
