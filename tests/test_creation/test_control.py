"""Samples that follow their sources' labels through a ControlNet."""

from types import SimpleNamespace

import numpy as np
import pytest

from diff2in1_mm.creation import control
from diff2in1_mm.creation.control import control_of, nearness
from diff2in1_mm.creation.create import create, labels_of
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.diffusion.control import ControlBranch
from diff2in1_mm.preflight.creation import check_creation
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore

from ..small_models import tiny_control
from ..stores import read_one
from ..tiny_segmentation import PALETTE

OPTIONS = dict(steps=2, T=900, label_from='source', batch_size=3, limit=4)


@pytest.fixture(scope='module')
def folder(pipeline, tmp_path_factory):
    return tiny_control(pipeline, str(tmp_path_factory.mktemp('control')))


def test_every_sample_follows_the_colours_of_its_label_map(tmp_path, model, dataset, folder, monkeypatch):
    shown, forward = [], ControlBranch.forward

    def watched(self, pictures, *args, **more):
        shown.append(pictures)
        return forward(self, pictures, *args, **more)

    monkeypatch.setattr(ControlBranch, 'forward', watched)
    create(model, dataset, tmp_path / 'a', control=dict(source=folder), **OPTIONS)
    store = SyntheticStore(tmp_path / 'a')
    assert len(shown) == 2 * 2 and store.settings['control'] == dict(source=folder)  # two batches of two steps
    pictures = np.concatenate([(batch.permute(0, 2, 3, 1).numpy() * 255).round() for batch in shown[::2]])
    for record, picture in zip(sorted(store.records(), key=lambda record: record.id), pictures):
        _, raw = read_one(store, record)
        height, width = raw.shape
        assert np.array_equal(picture[:height, :width], np.array(PALETTE)[raw])
    create(model, dataset, tmp_path / 'b', **OPTIONS)
    free = SyntheticStore(tmp_path / 'b')
    for one, other in zip(store.records(), free.records()):
        assert not np.array_equal(read_one(store, one)[0], read_one(free, other)[0])
    with pytest.raises(StoreMismatch, match='control'):
        create(model, dataset, tmp_path / 'a', control=dict(source=folder, scale=0.5), **OPTIONS)


def test_edges_need_no_labels(model, dataset, folder):
    settings = CreationSettings(control=dict(source=folder, picture='edges'))
    control = control_of(settings, labels_of(model, settings, dataset), dataset, model.backbone.diffusion)
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = 200
    picture = control.paint({}, image)
    assert picture.shape == (20, 30, 3) and set(np.unique(picture)) == {0, 255}
    assert set(np.nonzero(picture)[1]) <= {14, 15}


def test_the_nearest_is_white_and_what_is_not_known_black():
    depth = np.array([[1.0, 2.0], [4.0, 0.0]])
    assert nearness(depth).tolist() == [[255, round(255 / 3)], [0, 0]]
    assert not nearness(np.zeros((2, 2))).any()
    assert nearness(np.ones((2, 2))).max() == 0


@pytest.mark.parametrize(
    ('control', 'words'),
    [
        ('a', 'must be a dict with the source'),
        (dict(source='a', strength=2), "no option 'strength': it knows source, picture"),
        (dict(source='a', picture='poses'), 'creation.control.picture'),
        (dict(source='a', scale=-1), 'at least 0'),
        (dict(source='a', picture='depth'), "shows labels of the source images, .* set it to 'edges'"),
        (dict(source='a', palette=[[0, 0, 0]]), 'palette does not fit: creation.control shows 3 classes'),
        (dict(source='a', picture='edges', palette=[]), 'leave it out'),
        (dict(source='/not/there'), 'could not be loaded'),
    ],
)
def test_bad_settings_are_told_before_the_warm_up(model, dataset, control, words):
    with pytest.raises(ValueError, match=words):
        check_creation(model, dict(OPTIONS, control=control), dataset)


def test_an_image_without_depth_is_named():
    labeller = SimpleNamespace(
        task='depth', read_sources=lambda transforms: None, source_labels=lambda size, entries: [None]
    )
    labels = SimpleNamespace(labeller=SimpleNamespace(labellers=dict(depth=labeller), task='depth'))
    paint = control._painter('depth', None, labels, SimpleNamespace(pipeline=SimpleNamespace(transforms=[])))
    with pytest.raises(OSError, match='a.png has no depth, which creation.control shows'):
        paint(dict(img_path='a.png'), np.zeros((4, 4, 3), np.uint8))
