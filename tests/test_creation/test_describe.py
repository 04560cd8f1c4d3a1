"""Source images and their maps, wherever the data set reads them from."""

import cv2
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmengine.registry import DATASETS

from diff2in1_mm.creation.batch_labels import BatchLabels
from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.describe import SourceDescriber
from diff2in1_mm.creation.plan import source_entry
from diff2in1_mm.creation.read_back import check_read_back
from diff2in1_mm.datasets.source_images import load_image, map_loader
from diff2in1_mm.datasets.synthetic_mix import SyntheticMixDataset
from diff2in1_mm.diffusion.conditions.prompts import ComposedCaption
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks.segmentation import source_map
from diff2in1_mm.utils.errors import UserError

from ..archive import archived, from_archive
from ..tiny_segmentation import FAST, build_dataset, dataset_config, make_images

LoadAnnotations = pytest.importorskip('mmseg.datasets.transforms').LoadAnnotations


def repeated(dataset):
    return DATASETS.build(dict(type='RepeatDataset', times=2, dataset=dataset))


@pytest.mark.parametrize('wrap', [lambda dataset: dataset, SyntheticMixDataset, repeated])
def test_files_that_only_backend_args_know(tmp_path, wrap):
    make_images(tmp_path / 'set', 2)
    archive = wrap(DATASETS.build(from_archive(dataset_config('set'), tmp_path)))
    entry = source_entry(archive, 1)
    assert entry['img_path'] == 'set/img/1.png' and entry['backend_args'] == archived(tmp_path)
    image = load_image(entry['img_path'], backend_args=entry['backend_args'])
    local = source_entry(build_dataset(tmp_path / 'set'), 1)
    assert local['backend_args'] is None
    np.testing.assert_array_equal(image, load_image(local['img_path']))
    np.testing.assert_array_equal(source_map(entry, (8, 8)).annotation, source_map(local, (8, 8)).annotation)


def test_maps_are_read_as_the_pipeline_reads_them(tmp_path):
    """A class made from LoadAnnotations tells what is in an image."""

    class Shifted(LoadAnnotations):
        def _load_seg_map(self, results):
            results['gt_seg_map'] = np.full((4, 4), 1, np.uint8)

    make_images(tmp_path, 1)
    dataset = build_dataset(tmp_path)
    place = [type(t).__name__ for t in dataset.pipeline.transforms].index('LoadAnnotations')
    dataset.pipeline.transforms[place] = Shifted()
    assert map_loader(dataset.pipeline.transforms) is dataset.pipeline.transforms[place]
    source = SourceDescriber(dataset, ComposedCaption())(dataset.get_data_info(0))
    assert source.classes == (dataset.metainfo['classes'][1],)
    assert map_loader(dataset.pipeline.transforms[:place]) is None
    assert type(map_loader([])) is LoadAnnotations


def test_a_map_beside_objects_has_other_classes_than_they(tmp_path):
    """It is for a semantic head, as of HTC: what is in an image is told by its objects."""
    make_images(tmp_path, 1)
    dataset = build_dataset(tmp_path)
    entry = dataset.get_data_info(0)
    objects = [dict(bbox=[0, 0, 2, 2], bbox_label=1), dict(bbox=[0, 0, 9, 9], bbox_label=0)]
    source = SourceDescriber(dataset, ComposedCaption())(dict(entry, instances=objects))
    assert source.classes == tuple(dataset.metainfo['classes'][:2])


@pytest.mark.parametrize('label_from', ['fresh', 'source'])
def test_creation_from_an_archive(tmp_path, model, label_from):
    make_images(tmp_path / 'set', 3)
    archive = DATASETS.build(from_archive(dataset_config('set'), tmp_path))
    report = create(model, archive, tmp_path / 's', label_from=label_from, **FAST)
    assert report.samples == 3 and not report.skipped
    assert len(SyntheticStore(tmp_path / 's')) == 3 and (tmp_path / 's/preview.png').is_file()


def test_source_labels_of_a_joined_data_set_are_looked_at_before_creation(tmp_path, model):
    for name in ('plain', 'coloured'):
        make_images(tmp_path / name, 3)
    members = [build_dataset(tmp_path / name) for name in ('plain', 'coloured')]
    labels = BatchLabels(model, 'source')
    check_read_back(labels, ConcatDataset(members))
    for path in (tmp_path / 'coloured').rglob('*.png'):
        if cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 2:
            cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match='coloured/.* is no label map of one channel'):
        check_read_back(labels, ConcatDataset(members))
