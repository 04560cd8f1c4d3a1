"""The arms of a config: controls, regularisation that both sides get, pasting."""

import pytest
from mmengine.config import Config

from diff2in1_mm.comparison.arms import arms_of, configure_arm
from diff2in1_mm.utils.resources import find_config


@pytest.fixture
def cfg():
    found = Config.fromfile(find_config('diff2in1_rooms.py'))
    found.train_dataloader.dataset.store = 'somewhere'
    return found


def steps(node):
    return [step['type'] for step in node['pipeline']]


def test_every_method_has_a_control_of_its_regularisation():
    for arms in (arms_of(), arms_of(['lamp'])):
        families = [{arm.family for arm in arms.values() if arm.control == control} for control in (True, False)]
        assert families[0] == families[1]
        kinds = [arm.control for arm in arms.values()]
        assert kinds == sorted(kinds, reverse=True)  # controls first
    assert len(arms_of(['lamp'])) == len(arms_of()) + 2


def test_unlabelled_pictures_alone_are_a_control_of_each_regularisation(cfg):
    cfg.custom_hooks[0].creation.unlabelled = 'pictures'
    for paste in (None, ['lamp']):
        arms = arms_of(paste, unlabelled=True)
        trained = {arm.family: name for name, arm in arms.items() if arm.self_training}
        assert set(trained) == {arm.family for arm in arms.values()} and all(
            arms[name].control for name in trained.values()
        )
    made = configure_arm(cfg, arms_of(unlabelled=True)['self-trained'], 0)
    assert made.custom_hooks[0].creation.copies_per_source == 0
    assert made.custom_hooks[0].creation.unlabelled == 'pictures'
    assert 'copies_per_source' not in cfg.custom_hooks[0].creation or cfg.custom_hooks[0].creation.copies_per_source > 0
    assert not any(arm.self_training for arm in arms_of(['lamp']).values())


def test_a_plain_arm_is_the_config_with_a_seed_and_a_store_of_its_own(cfg):
    made = configure_arm(cfg, arms_of()['method'], 3)
    assert made.randomness.seed == made.train_dataloader.dataset.dataset.seed == 3
    assert made.train_dataloader.dataset.store is None
    assert made.custom_hooks[0] == cfg.custom_hooks[0] and made.model == cfg.model
    assert cfg.randomness.seed == 0 and cfg.train_dataloader.dataset.store == 'somewhere'


def test_a_control_creates_nothing_and_trains_under_the_same_regularisation(cfg):
    arms = arms_of()
    control, method = (configure_arm(cfg, arms[name], 0) for name in ('regularised', 'method, regularised'))
    assert control.custom_hooks[0].creation is None and method.custom_hooks[0].creation is not None
    assert control.model == method.model and control.train_dataloader == method.train_dataloader
    assert control.model.backbone.feature_dropout == 0.2
    data = control.train_dataloader.dataset.dataset
    assert steps(data) == ['LoadImageFromFile', 'LoadAnnotations', 'PhotometricCopies', 'RandomFlip', 'PackSegInputs']


def test_pasting_stands_between_loading_and_the_rest(cfg):
    made = configure_arm(cfg, arms_of(['lamp', 'plant'])['pasted'], 0, ['lamp', 'plant'])
    wrapper = made.train_dataloader.dataset.dataset
    assert wrapper.type == 'MultiImageMixDataset' and steps(wrapper) == ['PasteThings', 'RandomFlip', 'PackSegInputs']
    assert wrapper.pipeline[0].classes == ['lamp', 'plant']
    assert steps(wrapper.dataset) == ['LoadImageFromFile', 'LoadAnnotations', 'PhotometricCopies']


def test_photometric_distortion_of_the_config_is_not_doubled(cfg):
    cfg.train_dataloader.dataset.dataset.pipeline.insert(2, dict(type='PhotoMetricDistortion'))
    made = configure_arm(cfg, arms_of()['regularised'], 0)
    assert 'PhotometricCopies' not in steps(made.train_dataloader.dataset.dataset)


def test_data_without_a_loading_pipeline_are_refused_with_the_arms_that_can_be(cfg):
    cfg.train_dataloader.dataset.dataset.pipeline = [dict(type='LoadImageFromFile')]
    configure_arm(cfg, arms_of()['method'], 0)
    with pytest.raises(ValueError, match='leave out the regularised arms'):
        configure_arm(cfg, arms_of()['regularised'], 0)


def test_boxes_cannot_be_pasted(cfg):
    cfg.train_dataloader.dataset.dataset.pipeline[1] = dict(type='LoadAnnotations', with_bbox=True)
    configure_arm(cfg, arms_of(['lamp'])['regularised'], 0)
    with pytest.raises(ValueError, match='loads boxes: leave it out'):
        configure_arm(cfg, arms_of(['lamp'])['pasted'], 0, ['lamp'])
