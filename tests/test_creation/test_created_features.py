"""What the pass that labels fresh samples computes is found in training, and nothing is kept that would not be."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import DATASETS

pytest.importorskip('mmseg')

from diff2in1_mm.creation.create import create  # noqa: E402
from diff2in1_mm.creation.created_features import CreatedFeatures  # noqa: E402
from diff2in1_mm.creation.generator import PartialNoiseGenerator  # noqa: E402
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone  # noqa: E402
from diff2in1_mm.store.store import SyntheticStore  # noqa: E402
from tests.small_models import assert_same  # noqa: E402
from tests.stores import read_one  # noqa: E402
from tests.tiny_segmentation import FAST, LOAD, build_model, dataset_config  # noqa: E402

PACK = dict(type='mmseg.PackSegInputs')
FLIP = [*LOAD, dict(type='mmseg.RandomFlip', prob=0.5), PACK]
CROP = [*LOAD, dict(type='mmseg.RandomCrop', crop_size=(24, 32)), dict(type='mmseg.RandomFlip', prob=0.5), PACK]
# to the size that the samples have, which no real image of another size has
RESIZE = [*LOAD, dict(type='Resize', scale=(48, 32), keep_ratio=False), PACK]


@pytest.fixture
def made(root, pipeline_folder, tmp_path):
    """A creation with a pipeline and a cache: the model, and the data set that serves it."""

    def make(pipeline, views=4, backbone=None, cache=None, **settings):
        kept = dict(folder=str(tmp_path / 'features'), views=views, **(cache or {}))
        model = build_model(pipeline_folder, feature_cache=kept, **(backbone or {}))
        inner = dict(dataset_config(root, indices=6), pipeline=pipeline)  # all of one size
        dataset = DATASETS.build(
            dict(type='SyntheticMixDataset', dataset=inner, store=str(tmp_path / 'store'), views=views)
        )
        create(model, dataset, tmp_path / 'store', **FAST, **settings)
        dataset.serve(0)
        return model, dataset

    return make


def files(tmp_path):
    return {path.stem: path for path in tmp_path.glob('features/*/*/*.safetensors')}


def synthetic_batches(model, dataset, draws):
    """What training sees of the synthetic samples in so many draws of each."""
    np.random.seed(0)
    for index in [len(dataset.real) + i for i in range(6)] * draws:
        sample = dataset[index]
        batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
        yield model.data_preprocessor(batch, True)['inputs']


def passes_of(model, monkeypatch):
    passes, moments = [], model.backbone.diffusion.moments

    def counting(images):
        passes.append(len(images))
        return moments(images)

    monkeypatch.setattr(model.backbone.diffusion, 'moments', counting)
    return passes


@pytest.mark.parametrize('pipeline, mirrored', [(FLIP, True), (RESIZE, False)])
@pytest.mark.parametrize('cache', [dict(dtype='fp32'), dict(dtype='fp32', keep='latents')])
def test_training_finds_what_was_computed_to_label(made, tmp_path, monkeypatch, pipeline, mirrored, cache):
    model, dataset = made(pipeline, cache=cache)
    created = files(tmp_path)
    assert len(created) == 4  # the first two samples showed that it pays
    backbone, passes = model.backbone.train(), passes_of(model, monkeypatch)
    batches = list(synthetic_batches(model, dataset, draws=6))
    found = [backbone.features(images) for images in batches]
    new = len(files(tmp_path)) - len(created)
    assert len(passes) == new and (2 < new <= 2 + 6 if mirrored else new == 2)
    with backbone.feature_cache.paused():
        for images, maps in zip(batches, found):
            for mine, theirs in zip(maps, backbone.features(images)):
                assert_same(mine, theirs)


def test_views_that_are_never_the_whole_image_are_not_kept(made, tmp_path):
    made(CROP)
    assert not files(tmp_path)


def test_a_later_round_knows_it_from_the_start(made, tmp_path):
    model, mix = made(FLIP)
    create(model, mix, tmp_path / 'store', round=1, **FAST)
    assert len(files(tmp_path)) == 4 + 6


def test_labels_are_the_same_with_a_cache_and_without(made, root, pipeline_folder, dataset, tmp_path):
    made(FLIP, cache=dict(dtype='int8'))
    create(build_model(pipeline_folder), dataset, tmp_path / 'plain', **FAST)
    plain = {record.id: record for record in SyntheticStore(tmp_path / 'plain').records()}
    for record in SyntheticStore(tmp_path / 'store').records():
        for one, other in zip(
            read_one(SyntheticStore(tmp_path / 'store'), record),
            read_one(SyntheticStore(tmp_path / 'plain'), plain[record.id]),
        ):
            np.testing.assert_array_equal(one, other)


def test_mirrored_views_of_a_label_are_kept_and_scaled_ones_are_not(made, tmp_path):
    made(FLIP, labelling=dict(flip=True, scales=[1, 2]))
    assert len(files(tmp_path)) == 2 * 4


@pytest.mark.parametrize('settings', [dict(label_from='source'), dict(label_from='last_step')])
def test_labels_without_a_pass_over_the_image_keep_nothing(made, tmp_path, settings):
    made(FLIP, **settings)
    assert not files(tmp_path)


def test_batches_that_are_changed_as_a_whole_are_not_looked_at():
    """What changes them may wait for other processes, which do not look as often."""
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(batch_augments=[object()]))
    backbone = SimpleNamespace(feature_cache=object())
    labels = SimpleNamespace(backbone=backbone, last_step=False, of_source=False, model=model)
    CreatedFeatures(labels, dataset=None).look(store=None, writer=None)  # neither is touched


def test_a_pipeline_that_fails_stops_no_creation(made, tmp_path, logged):
    made([*LOAD, dict(type='Resize', scale=(48, 32), interpolation='absent'), PACK])
    assert len(SyntheticStore(tmp_path / 'store')) == 6 and not files(tmp_path)
    assert [line for line in logged if "does not keep samples as they are created (KeyError: 'absent')" in line]


def test_a_model_that_waits_on_the_cpu_is_brought_before_it_generates(made, monkeypatch):
    """With maps on disk nothing else may have moved it to the device."""
    done = []
    monkeypatch.setattr(DiffusionBackbone, 'bring_diffusion', lambda self: done.append('brought'))
    generate = PartialNoiseGenerator.generate
    monkeypatch.setattr(
        PartialNoiseGenerator, 'generate', lambda *args, **more: done.append('made') or generate(*args, **more)
    )
    made(CROP)
    assert done[:2] == ['brought', 'made']
