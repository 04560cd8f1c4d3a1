"""Creation sees source images as the data set's pipeline does, or says before the warm-up that it cannot."""

import cv2
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmengine.registry import TRANSFORMS
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations

import diff2in1_mm  # noqa: F401
from diff2in1_mm.creation.describe import SourceDescriber
from diff2in1_mm.creation.plan import source_entry
from diff2in1_mm.creation.read_back import check_images_read_back
from diff2in1_mm.datasets.source_images import image_steps, turns_images
from diff2in1_mm.diffusion.conditions.prompts import ComposedCaption
from diff2in1_mm.utils.errors import UserError

SIZE = (12, 10)
LOAD = dict(type='LoadImageFromFile')


class Changing:
    def __call__(self, results):
        image = self.changed(results['img'])
        return dict(results, img=image, img_shape=image.shape[:2])


@TRANSFORMS.register_module(force=True)
class QuarterOf(Changing):
    def changed(self, image):
        return (image // 4).astype(np.uint8)


@TRANSFORMS.register_module(force=True)
class FirstBandOnly(Changing):
    def changed(self, image):
        return image[..., :1]


@TRANSFORMS.register_module(force=True)
class ReadByPillow:
    """A loader of one's own that gives RGB."""

    def __call__(self, results):
        image = cv2.cvtColor(cv2.imread(results['img_path']), cv2.COLOR_BGR2RGB)
        return dict(results, img=image, img_shape=SIZE, ori_shape=SIZE)


@TRANSFORMS.register_module(force=True)
class AnyNoise(Changing):
    def changed(self, image):
        return np.clip(image + np.random.normal(0, 60, image.shape), 0, 255).astype(np.uint8)


@TRANSFORMS.register_module(force=True)
class OnlyTheMiddle(Changing):
    def changed(self, image):
        return image[2:-2, 2:-2]


@TRANSFORMS.register_module(force=True)
class WantsBoxes:
    def __call__(self, results):
        return dict(results, img=results['img'] * results['gt_bboxes'])


@TRANSFORMS.register_module(force=True)
class NumberOf:
    """Knows the data set's own names only."""

    def __call__(self, results):
        return dict(results, number=int(results['img_path'][-5]))


@TRANSFORMS.register_module(force=True)
class LoadTurned(LoadAnnotations):
    """Reads the file's 0 as class 1 and the other way."""

    def _load_seg_map(self, results):
        super()._load_seg_map(results)
        results['gt_seg_map'] = 1 - results['gt_seg_map']


def dataset(root, *steps, deep=False, maps='mmseg.LoadAnnotations'):
    rng = np.random.default_rng(3)
    for kind in ('img', 'ann'):
        (root / kind).mkdir(parents=True)
    for i in range(2):
        image = rng.integers(40, 255, (*SIZE, 3))
        cv2.imwrite(str(root / f'img/{i}.png'), image.astype(np.uint16) * 16 if deep else image.astype(np.uint8))
        cv2.imwrite(str(root / f'ann/{i}.png'), np.zeros(SIZE, np.uint8))
    return BaseSegDataset(
        data_root=str(root),
        img_suffix='.png',
        seg_map_suffix='.png',
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        metainfo=dict(classes=('sea', 'land')),
        pipeline=[*steps, dict(type=maps), dict(type='mmseg.RandomFlip', prob=0.5), dict(type='mmseg.PackSegInputs')],
    )


@pytest.mark.parametrize(
    'steps',
    [
        [LOAD],
        [dict(LOAD, to_float32=True)],
        [dict(LOAD, imdecode_backend='pillow')],
        [dict(type='ReadByPillow')],
        [LOAD, dict(type='AnyNoise')],
        [LOAD, dict(type='OnlyTheMiddle')],
        [LOAD, dict(type='WantsBoxes')],
    ],
)
def test_ordinary_loading_and_augmentations_pass(tmp_path, steps):
    check_images_read_back(dataset(tmp_path / 'a', *steps))


@pytest.mark.parametrize(
    'steps, deep',
    [
        ([LOAD, dict(type='QuarterOf')], False),
        ([LOAD, dict(type='FirstBandOnly')], False),
        ([dict(LOAD, color_type='grayscale')], False),
        ([dict(LOAD, color_type='unchanged')], True),
        ([dict(LOAD, color_type='unchanged'), dict(type='QuarterOf')], True),
    ],
)
def test_what_creation_cannot_repeat_is_refused(tmp_path, steps, deep):
    with pytest.raises(UserError, match='pipeline .LoadImageFromFile.*convert the images once to 8-bit') as raised:
        check_images_read_back(dataset(tmp_path / 'a', *steps, deep=deep))
    assert f'{tmp_path}/a/img/0.png' in str(raised.value)


def test_a_step_that_fails_on_pictures_of_a_store_is_told_with_its_error(tmp_path):
    with pytest.raises(UserError, match='pipeline .NumberOf, LoadImageFromFile. fails .* ValueError, invalid literal'):
        check_images_read_back(dataset(tmp_path / 'a', dict(type='NumberOf'), LOAD))


def test_every_member_of_joined_sets_is_asked(tmp_path):
    good = dataset(tmp_path / 'good', LOAD)
    bad = dataset(tmp_path / 'bad', LOAD, dict(type='QuarterOf'))
    for members in ([good, bad], [bad, good]):
        with pytest.raises(UserError, match=f'{tmp_path}/bad/img/0.png'):
            check_images_read_back(ConcatDataset(members))


def test_each_member_turns_and_reads_maps_by_its_own_loader(tmp_path):
    plain = dataset(tmp_path / 'plain', LOAD)
    other = dataset(tmp_path / 'other', dict(LOAD, color_type='color_ignore_orientation'), maps='LoadTurned')
    joined = ConcatDataset([plain, other])
    assert [turns_images(joined, index) for index in range(4)] == [True, True, False, False]
    describe = SourceDescriber(joined, ComposedCaption())
    assert [describe(source_entry(joined, index), index).classes for index in (0, 2)] == [('sea',), ('land',)]


def test_unchanged_files_are_not_turned(tmp_path):
    assert not turns_images(dataset(tmp_path / 'a', dict(LOAD, color_type='unchanged')))


def test_steps_end_before_the_first_change_of_the_libraries(tmp_path):
    transforms = dataset(tmp_path / 'a', LOAD, dict(type='QuarterOf')).pipeline.transforms
    assert [type(step).__name__ for step in image_steps(transforms)] == ['LoadImageFromFile', 'QuarterOf']
