"""The trial of a model before its config is written: what passes, what is refused and how, what is only told."""

import logging

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import diff2in1_mm  # noqa: F401
from diff2in1_mm.switch_in.maps import given_maps
from diff2in1_mm.switch_in.refusals import BackboneError, LabelsError, TrialError
from diff2in1_mm.switch_in.trial import first_that_works, put_maps, try_model

from ..detectors import stock_model
from ..tiny_segmentation import model_config
from ..versions import needs_detectors

pytest.importorskip('mmseg')


@pytest.fixture
def segmentor(pipeline_folder):
    cfg = model_config(pipeline_folder)
    cfg['backbone'] = dict(type=nn.Identity)
    cfg['data_preprocessor']['size'] = (512, 512)
    model = MODELS.build(ConfigDict(cfg))
    put_maps(model, given_maps([16, 24, 32], [4, 8, 16]))
    return model


def fail_in(model, name, error, when=lambda model: True):
    """Lets a method of a model raise."""
    method = getattr(model, name)

    def failing(*args, **kwargs):
        if when(model):
            raise error
        return method(*args, **kwargs)

    setattr(model, name, failing)


def test_a_segmentor_passes(segmentor):
    calls, backbone = [], segmentor.backbone
    backbone.register_forward_hook(lambda _, images, maps: calls.append(backbone.training) or sizes.add(maps[0].shape))
    sizes = set()
    try_model(segmentor, [64])
    # learning; predicting, labelling new images and a batch; learning from these
    assert calls == [True, False, False, False, True]
    assert all(p.grad is None for p in segmentor.parameters())
    assert sizes == {(1, 16, 16, 16), (2, 16, 16, 16)}  # of 64 pixels at stride 4, not of the crops
    calls.clear()
    try_model(segmentor, [64], labels=False)
    assert calls == [True, False]


def test_weights_that_can_only_be_loaded(segmentor):
    fail_in(segmentor, 'init_weights', AttributeError("'super' object has no attribute 'init_weights'"))
    try_model(segmentor, [64], labels=False)


@pytest.mark.parametrize('left', [float('nan'), float('inf'), 1e30, 0.0, 1e-30])
def test_a_parameter_that_only_a_checkpoint_fills(segmentor, left):
    weight = segmentor.decode_head.conv_seg.weight
    fail_in(segmentor, 'init_weights', AttributeError("'super' object has no attribute 'init_weights'"))
    weight.data.fill_(left)
    try_model(segmentor, [64], labels=False)
    assert weight.isfinite().all() and 1e-3 < weight.abs().max() < 1


def test_the_step_that_fails_is_named(segmentor):
    fail_in(segmentor, 'loss', RuntimeError('no such thing\nand more'))
    with pytest.raises(
        TrialError, match='a training step of EncoderDecoder fails on images of 64 x 64 pixels .Runtime.*thing'
    ):
        try_model(segmentor, [64])


def test_what_labels_cannot_be_made_or_learned_from(segmentor):
    calls = []
    fail_in(
        segmentor,
        'encode_decode',
        ValueError('one image at a time'),
        lambda model: not calls.append(0) and len(calls) > 1,
    )
    with pytest.raises(LabelsError, match='labelling new images of EncoderDecoder fails.*one image at a time'):
        try_model(segmentor, [64])
    calls.clear()
    try_model(segmentor, [64], labels=False)


def test_learning_from_its_own_labels_fails(segmentor):
    steps = []
    fail_in(segmentor, 'loss', KeyError('pairwise_masks'), lambda model: not steps.append(0) and len(steps) > 1)
    with pytest.raises(LabelsError, match='a training step on its own labels .*pairwise_masks'):
        try_model(segmentor, [64])


@pytest.mark.parametrize('kind', [ImportError, NotImplementedError])
def test_a_missing_package_is_named(segmentor, kind):
    fail_in(segmentor, 'loss', kind('Please run "pip install scikit-learn"'))
    with pytest.raises(
        ImportError, match='a training step of EncoderDecoder needs what is not installed .*scikit-learn'
    ):
        try_model(segmentor, [64])


def test_an_operator_that_only_gpus_have_is_a_warning(segmentor, monkeypatch):
    said = []
    monkeypatch.setattr('diff2in1_mm.switch_in.trial.print_log', lambda text, *_, **how: said.append((text, how)))
    fail_in(segmentor, 'loss', RuntimeError('carafe_forward_impl: implementation for device cpu not found.'))
    try_model(segmentor, [64])
    text, how = said[-1]
    assert 'without a GPU (carafe_forward_impl' in text and how['level'] == logging.WARNING


def test_another_size_of_images(segmentor):
    fail_in(segmentor, 'loss', AssertionError('Input image size'), lambda model: sizes.append(0) or len(sizes) == 1)
    sizes = []
    try_model(segmentor, [32, 64])
    assert len(sizes) == 3  # the first on 32 pixels

    def work(side):
        raise BackboneError('gives tokens') if side == 32 else AssertionError('not asked again')

    with pytest.raises(BackboneError, match='tokens'):
        first_that_works([32, 64], work)


def most_objects(settings):
    """Each number of objects in an image that a detector's settings allow."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from [value] if key in ('max_per_img', 'max_per_image') else most_objects(value)


@needs_detectors
@pytest.mark.parametrize('name', ['retinanet', 'mask_rcnn', 'htc', 'mask2former_panoptic', 'fpn_panoptic'])
def test_detectors_pass(name):
    """With drawn weights RetinaNet finds nothing that could be a target: its own boxes stand for that."""
    pytest.importorskip('mmdet')
    model = Config(stock_model(name))
    model.backbone = dict(type=nn.Identity)
    with DefaultScope.overwrite_default_scope('mmdet'):
        built = MODELS.build(model)
    part = model.get('neck') or model.panoptic_head
    things = model.get('panoptic_fusion_head', {}).get('num_things_classes', 2)
    put_maps(built, given_maps(part.in_channels, [4, 8, 16, 32]))
    learned = []
    loss = built.loss

    def watched(inputs, samples):
        learned.append(samples)
        return loss(inputs, samples)

    built.loss = watched
    try_model(built, [64], masks=name != 'retinanet')
    assert ('masks' in learned[0][0].gt_instances) == (name != 'retinanet')
    numbers = [value for part in built.modules() for value in most_objects(getattr(part, 'test_cfg', None))]
    assert numbers and max(numbers) <= 20
    first, last = (samples[0] for samples in learned)
    assert last.flip and (last.gt_instances.labels < things).all()  # as half of a pipeline's images
    assert first.gt_instances is not last.gt_instances
    assert len(last.gt_instances) or (last.gt_sem_seg.sem_seg != 255).any()  # Mask2Former may see stuff alone


def test_maps_that_stand_for_a_backbone():
    model = nn.Module()
    put_maps(model, given_maps([0, 6], [4, 8]))
    first, second = model.backbone(torch.zeros(2, 3, 30, 34))
    assert first.shape[2:] == (8, 9) and second.shape == (2, 6, 4, 5)
