"""A model that learns from several kinds of labels: all are predicted, assigned and stored together."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.structures import SegDataSample
from torch import nn

from diff2in1_mm.creation.batch_labels import BatchLabels
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks import JointLabeller, labeller_for

from .test_instances_files import record

SIZE = (6, 8)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


class Head(nn.Module):
    """One task's share of the model: channels of the image, as scores of three classes or as depth."""

    num_classes, ignore_index, max_depth = 3, 255, 10.0

    def __init__(self, channels):
        super().__init__()
        self.channels = channels
        self.decode_head = self

    def encode_decode(self, inputs, metas):
        return inputs[:, self.channels]


class TwoTasks(nn.Module):
    label_tasks = ('segmentation', 'depth')

    def __init__(self):
        super().__init__()
        self.backbone = nn.Identity()
        self.heads = nn.ModuleDict(dict(segmentation=Head([0, 1, 2]), depth=Head([0])))

    def of_task(self, name):
        return self.heads[name]

    def data_preprocessor(self, data, training):
        return dict(data, inputs=torch.stack(data['inputs']).float())


def test_every_task_labels_and_is_assigned():
    labeller = labeller_for(TwoTasks(), dict(segmentation=0.5))
    assert isinstance(labeller, JointLabeller) and labeller.tasks == ('segmentation', 'depth')
    assert labeller.confidence == dict(segmentation=0.5, depth=None)
    images = torch.rand(2, 3, *SIZE) + 0.5
    predictions = labeller.predict(TwoTasks(), images, [])
    samples = [SegDataSample(), SegDataSample()]
    figures = labeller.assign(samples, predictions)
    torch.testing.assert_close(samples[1].gt_depth_map.data, images[1, :1])
    sure = images.softmax(1).amax(1) >= 0.5
    wanted = torch.where(sure, images.argmax(1), 255)
    assert torch.equal(torch.stack([sample.gt_sem_seg.data[0] for sample in samples]), wanted)
    assert figures['ignored_depth'] == 0 and figures['ignored_segmentation'] == (~sure).float().mean()
    assert figures['ignored'] == figures['ignored_segmentation'] / 2 == labeller.ignored(samples)
    doubled = labeller.predict(TwoTasks(), images * 2, [])  # the same classes, another depth
    assert labeller.agreement(predictions, doubled) == 0.5 and labeller.count_classes(TwoTasks()) == 3


def test_a_sample_is_stored_with_the_labels_of_all_tasks(tmp_path):
    labels = BatchLabels(TwoTasks())
    labels.check_classes(['a', 'b', 'c'])
    pixels = torch.randint(1, 10, (1, 3, *SIZE), dtype=torch.uint8)
    (label,) = labels(pixels, {}, [{}])
    assert set(label.quality) == {'segmentation.confidence', 'segmentation.ignored', 'depth.ignored', 'ignored'}
    store = SyntheticStore.prepare(tmp_path / 's', labels.tasks, 'abc', 'f', {})
    store.add(record(), np.zeros((*SIZE, 3), np.uint8), label.annotation)
    _, found = SyntheticStore(store.root).read(store.records()[0])
    bgr = pixels[0].flip(0)  # as MMCV's pipelines load
    np.testing.assert_array_equal(found['segmentation'], bgr.float().argmax(0))
    np.testing.assert_allclose(found['depth'], bgr[0].float(), atol=1e-3)


def test_a_missing_label_of_one_task_leaves_the_sample_out():
    labeller = labeller_for(TwoTasks())
    labeller.labellers['depth'].labels = lambda predictions, size, entries: [None for _ in predictions]
    predictions = labeller.predict(TwoTasks(), torch.rand(2, 3, *SIZE), [])
    assert labeller.labels(predictions, SIZE, [{}, {}]) == [None, None]


def test_options_are_given_by_task():
    labeller = labeller_for(TwoTasks(), options=dict(depth=dict(file='npy')))
    assert labeller.tasks == ('segmentation', 'depth_npy')
    with pytest.raises(ValueError, match=r'give confidence by task, as dict\(segmentation=\.\.\.\), not 0.5'):
        labeller_for(TwoTasks(), 0.5)
    with pytest.raises(ValueError, match='give labelling by task'):
        labeller_for(TwoTasks(), options=dict(file='npy'))


def test_a_model_of_several_tasks_gives_each():
    model = nn.Linear(1, 1)
    model.label_tasks = ('segmentation', 'depth')
    with pytest.raises(TypeError, match='of_task'):
        labeller_for(model)


def test_one_task_is_stored_by_its_name():
    model = Head([0])
    model.label_tasks = ('depth',)
    labeller = JointLabeller.of(labeller_for(model))
    (label,) = labeller.labels(labeller.predict(model, torch.ones(1, 1, *SIZE), []), SIZE, [{}])
    assert list(label.annotation) == ['depth'] and label.quality == dict(ignored=0.0)


def test_a_model_of_several_tasks_may_have_one():
    model = TwoTasks()
    model.label_tasks = ('depth',)
    labeller = labeller_for(model)
    images = torch.rand(1, 3, *SIZE) + 0.5
    (prediction,) = labeller.predict(model, images, [])
    assert labeller.tasks == ('depth',)
    torch.testing.assert_close(prediction['depth'], images[0, :1])
