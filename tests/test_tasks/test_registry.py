"""A kind of label that the package does not know takes one class and no change elsewhere."""

import numpy as np
import pytest
import torch
from torch import nn

from diff2in1_mm.creation.create import create
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks import TASKS, Label, Task, labeller_for, register_task, registry
from diff2in1_mm.tasks.dense import MapLabeller
from diff2in1_mm.tasks.instances import InstancesTask
from diff2in1_mm.tasks.png import decode_png, encode_png
from diff2in1_mm.tasks.registry import tasks_of
from diff2in1_mm.utils.errors import UserError

from ..stores import read_one
from ..tiny_segmentation import FAST, build_dataset, build_model, make_images
from .test_instances_files import record
from .test_segmentation import segmentor


class Edges(Task):
    """Whether a pixel is an edge, as PNG."""

    name, suffix = 'edges', '.png'

    class labeller(MapLabeller):  # noqa: N801
        task = 'edges'
        assign = ignored = agreement = None

        def labels(self, predictions, size, entries):
            return [Label((p[0] > 0).numpy(), dict(ignored=0.0)) for p in predictions]

    def encode(self, annotation, record, image_shape):
        return {self.suffix: encode_png(annotation.astype(np.uint8))}

    def decode(self, path):
        return decode_png(path.read_bytes()).astype(bool)

    def point_at(self, info, path):
        info['edge_map_path'] = str(path)

    def draw(self, image, annotation, colours, entry, opacity=0.6):
        return np.where(annotation[..., None], np.uint8(255), image)


class Model(torch.nn.Module):
    label_tasks = ('edges',)

    def encode_decode(self, inputs, metas):
        return inputs[:, :1]


def test_edges_are_labelled_stored_read_back_and_drawn(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="names the label task 'edges', but only boundaries, depth, .* are registered"):
        labeller_for(Model())
    monkeypatch.setitem(TASKS, 'edges', Edges)  # taken out afterwards
    assert register_task(Edges) is Edges
    labeller = labeller_for(Model())
    pixels = torch.randn(1, 3, 6, 8)
    (label,) = labeller.labels(labeller.predict(Model(), pixels, []), (6, 8), [{}])
    store = SyntheticStore.prepare(tmp_path / 's', [labeller.task], [], 'f', {})
    store.add(record(), np.zeros((6, 8, 3), np.uint8), dict(edges=label.annotation))
    reopened = SyntheticStore(tmp_path / 's')
    image, found = read_one(reopened, reopened.records()[0])
    np.testing.assert_array_equal(found, pixels[0, 0].numpy() > 0)
    picture = reopened.codecs['edges'].draw(image, found, None, {})
    np.testing.assert_array_equal(picture[..., 0] == 255, found)


@pytest.mark.parametrize('said', [dict(label_tasks=('edges',)), dict(label_tasks='edges'), dict(label_task='edges')])
def test_a_model_names_a_task_of_ones_own(tmp_path, pipeline_folder, monkeypatch, said):
    """Whatever it fits otherwise: a segmentor creates, and its store holds, what it names."""
    model, dataset = build_model(pipeline_folder), build_dataset(make_images(tmp_path / 'data'))
    assert labeller_for(model).task == 'segmentation'
    monkeypatch.setitem(TASKS, 'edges', None)  # taken out afterwards
    register_task(Edges)
    for name, task in said.items():
        setattr(model, name, task)
    create(model, dataset, tmp_path / 's', limit=1, **FAST)
    store = SyntheticStore(tmp_path / 's', tasks=['edges'])
    _, edges = read_one(store, store.records()[0])
    assert edges.dtype == bool and 0 < edges.mean() < 1


def test_a_model_may_name_known_tasks_only(monkeypatch):
    for tasks, words in (
        (('depth', 'normals'), 'Model names the label tasks depth, normals: a model of several tasks has a method'),
        (('depth', 'edges'), "Model names the label task 'edges', but only boundaries, depth, .* are registered"),
    ):
        monkeypatch.setattr(Model, 'label_tasks', tasks)
        with pytest.raises(UserError, match=words):
            tasks_of(Model())


def test_unknown_models_are_named():
    with pytest.raises(TypeError, match='cannot label for Linear'):
        labeller_for(nn.Linear(2, 2))
    with pytest.raises(ValueError, match='probability'):
        labeller_for(segmentor(), confidence=1.5)


def test_options_that_a_labeller_lacks_are_named(monkeypatch):
    known = 'flip, scales, draws, proportions, proportions_strength'
    with pytest.raises(
        ValueError, match=f"^SegmentationLabeller has no labelling option 'ignore_from': it knows {known}$"
    ):
        labeller_for(segmentor(), options=dict(ignore_from=0.5))
    with pytest.raises(ValueError, match='does not fit SegmentationLabeller'):
        labeller_for(segmentor(), options=dict(model=None))
    monkeypatch.setattr(registry, 'tasks_of', lambda model: [InstancesTask])
    with pytest.raises(ValueError, match="'ignore_form'; did you mean 'ignore_from'"):
        labeller_for(nn.Linear(2, 2), options=dict(ignore_form=0.5))
