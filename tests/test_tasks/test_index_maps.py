"""Parts, boundaries and saliency: targets, files of a store, and the source images' own maps."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

pytest.importorskip('mmseg')

from mmseg.structures import SegDataSample  # noqa: E402

from diff2in1_mm.creation.batch_labels import BatchLabels  # noqa: E402
from diff2in1_mm.datasets.transforms.loading import LoadBoundaries, LoadParts, LoadSaliency  # noqa: E402
from diff2in1_mm.tasks import TASKS, build_task, labeller_for  # noqa: E402

LOADERS = dict(parts=LoadParts, boundaries=LoadBoundaries, saliency=LoadSaliency)
FIELDS = dict(parts='gt_part_map', boundaries='gt_boundary_map', saliency='gt_saliency_map')
KEYS = dict(parts='part', boundaries='boundary', saliency='saliency')
SIZE = (6, 8)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


class OneTask(nn.Module):
    """Scores are channels of the image: three parts, or one logit."""

    num_classes, ignore_index, threshold = 3, 255, 0.8

    def __init__(self, task):
        super().__init__()
        self.label_tasks, self.backbone = (task,), nn.Identity()
        self.channels = [0, 1, 2] if task == 'parts' else [0]

    @property
    def decode_head(self):
        return self

    def encode_decode(self, inputs, metas):
        return inputs[:, self.channels]


@pytest.mark.parametrize('task', FIELDS)
def test_predictions_become_targets_and_files_that_the_loader_reads(task, tmp_path):
    labeller = labeller_for(OneTask(task), 0.6)
    images = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 2
    (prediction,) = labeller.predict(OneTask(task), images, [])
    sample = SegDataSample()
    labeller.assign([sample], [prediction])
    target = sample.get(FIELDS[task]).data[0]
    if task == 'parts':
        probabilities = images[0].softmax(0)
        expected, sure = probabilities.argmax(0), probabilities.amax(0)
    else:
        probability = images[0, 0].sigmoid()
        expected = (probability > 0.8).long()
        sure = torch.where(expected == 1, probability, 1 - probability)
    assert torch.equal(target, torch.where(sure < 0.6, 255, expected))
    assert labeller.count_classes(OneTask(task)) is None  # not those of the data set
    (label,) = labeller.labels([prediction], SIZE, [{}])
    assert label.quality['ignored'] == pytest.approx(float((target == 255).float().mean()))
    kind = build_task(task)
    path = tmp_path / 'label.png'
    path.write_bytes(kind.encode(label.annotation, None, SIZE)['.png'])
    np.testing.assert_array_equal(kind.decode(path), target)
    info = {f'{KEYS[task]}_map_path': 'elsewhere', 'saliency_from': 3}
    kind.point_at(info, path)
    np.testing.assert_array_equal(LOADERS[task]()(info)[FIELDS[task]], target)
    image = np.full((*SIZE, 3), 90, np.uint8)
    drawn = kind.draw(image, label.annotation, np.zeros((0, 3), np.uint8), {})
    assert drawn.shape == image.shape and drawn.dtype == np.uint8 and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1
    assert not TASKS[task].fits(OneTask(task))


@pytest.mark.parametrize('task', FIELDS)
def test_the_source_images_own_maps(task, tmp_path):
    path = str(tmp_path / 'own.png')
    own = np.array([[0, 1, 2, 200], [3, 3, 255, 0]], np.uint8)
    cv2.imwrite(path, own)
    entry = {f'{KEYS[task]}_map_path': path, 'saliency_from': 3}
    labels = BatchLabels(OneTask(task), 'source', transforms=[LOADERS[task]()])
    pixels = torch.zeros(2, 3, 4, 8, dtype=torch.uint8)
    found, nothing = labels(pixels, {}, [entry, {f'{KEYS[task]}_map_path': None}])
    expected = dict(parts=own, boundaries=own >= 128, saliency=own >= 3)[task]
    np.testing.assert_array_equal(found.annotation[task], expected.astype(np.uint8).repeat(2, 0).repeat(2, 1))
    assert nothing is None  # an image without such labels
