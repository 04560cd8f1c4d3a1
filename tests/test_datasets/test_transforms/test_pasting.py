"""Things pasted with their labels."""

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope

from diff2in1_mm.datasets.pasting import Composer, cut_outs, paste
from diff2in1_mm.datasets.synthetic_mix import SyntheticMixDataset
from diff2in1_mm.datasets.transforms.pasting import PasteThings
from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import SyntheticStore

CLASSES = ('ground', 'ball', 'rod')
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def scene(ball=True, rod=True):
    """A grey image with a red ball and a blue rod (BGR), and its label map."""
    labels = np.zeros((40, 60), np.uint8)
    if ball:
        cv2.circle(labels, (15, 20), 6, 1, -1)
    if rod:
        labels[10:30, 40:44] = 2
    return np.array([[90] * 3, [0, 0, 250], [250, 0, 0]], np.uint8)[labels], labels


@pytest.fixture
def dataset(tmp_path):
    """Of five images; only the last has a rod, the rare class."""
    init_default_scope('mmseg')
    for folder in ('img', 'ann'):
        (tmp_path / folder).mkdir()
    for i in range(5):
        image, labels = scene(rod=i == 4)
        cv2.imwrite(str(tmp_path / f'img/{i}.png'), image)
        cv2.imwrite(str(tmp_path / f'ann/{i}.png'), labels)
    base = dict(
        type='BaseSegDataset',
        data_root=str(tmp_path),
        img_suffix='.png',
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        metainfo=dict(classes=CLASSES),
        pipeline=LOAD,
    )

    def built(**options):
        things = dict(dict(type='PasteThings', classes=['ball', 'rod'], prob=1.0), **options)
        return DATASETS.build(dict(type='MultiImageMixDataset', dataset=base, pipeline=[things]))

    return built


class TestCutOuts:
    def test_connected_regions_with_their_pixels(self):
        ball, rod = cut_outs(*scene(), [1, 2])
        assert (ball.label, ball.corner, ball.mask.shape) == (1, (14, 9), (13, 13)) and not ball.mask.all()
        assert (ball.image[ball.mask] == [0, 0, 250]).all()
        assert (rod.label, rod.corner, rod.mask.shape) == (2, (10, 40), (20, 4)) and rod.mask.all()

    def test_what_is_small_or_cut_by_the_border_is_left_out(self):
        image, labels = scene()
        assert [t.label for t in cut_outs(image, labels, [1, 2], min_area=100)] == [1]
        assert [t.label for t in cut_outs(image[:, :43], labels[:, :43], [1, 2])] == [1]


@given(top=st.integers(-30, 60), left=st.integers(-30, 80))
def test_pasted_pixels_and_labels_go_together(top, left):
    """At any place, outside too, as one pixel after another would be set."""
    image, labels = scene(ball=False, rod=False)
    ball = cut_outs(*scene(), [1])[0]
    meant_image, meant_labels = image.copy(), labels.copy()
    for y, x in zip(*np.nonzero(ball.mask)):
        if 0 <= top + y < 40 and 0 <= left + x < 60:
            meant_image[top + y, left + x], meant_labels[top + y, left + x] = ball.image[y, x], 1
    paste(image, labels, ball, (top, left))
    assert np.array_equal(image, meant_image) and np.array_equal(labels, meant_labels)


class TestPasteThings:
    def test_labels_say_what_pixels_show(self, dataset):
        mixed = dataset(count=(2, 3))
        for i in range(5):
            sample = mixed[i]
            image, labels = sample['img'].astype(int), sample['gt_seg_map']
            red, blue = image[..., 2] - image[..., 0] > 125, image[..., 0] - image[..., 2] > 125
            assert np.mean(red != (labels == 1)) < 0.02 and np.mean(blue != (labels == 2)) < 0.02

    def test_rare_classes_come_more_often_than_images_show_them(self, dataset):
        np.random.seed(0)
        mixed = dataset(count=(1, 1))
        share = np.mean([(mixed[0]['gt_seg_map'] == 2).any() for _ in range(60)])
        assert 0.2 < share < 0.6  # one image of five has one; of four donors, evenly by class: (1 - 0.8**4) / 2 = 0.30

    def test_variants_of_an_image_come_again(self, dataset):
        mixed = dataset(variants=3, count=(2, 2))
        seen = {mixed[0]['img'].tobytes() for _ in range(40)}
        assert len(seen) == 3
        again = dataset(variants=3, count=(2, 2))
        assert {again[0]['img'].tobytes() for _ in range(40)} == seen
        assert seen.isdisjoint({mixed[1]['img'].tobytes() for _ in range(10)})

    def test_the_donor_is_left_as_it_is(self, dataset):
        mixed = dataset()
        before = [mixed.dataset[i]['img'].copy() for i in range(5)]
        for i in range(5):
            mixed[i]
        assert all(np.array_equal(mixed.dataset[i]['img'], image) for i, image in enumerate(before))

    def test_lower_things_cover_higher_ones(self):
        """A square above and one below, in one image that gives both."""
        labels = np.zeros((40, 40), np.uint8)
        labels[8:16, 16:24], labels[20:28, 16:24] = 1, 2
        composer = Composer(['a', 'b'], count=(8, 8), scale=(1, 1), shift=0.2)
        composer.know(['ground', 'a', 'b'])
        empty = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)
        covered = 0
        for seed in range(10):
            _, made = composer.compose(*empty, [(np.zeros((40, 40, 3), np.uint8), labels)], np.random.default_rng(seed))
            rows_a, rows_b = (np.nonzero((made == label).any(1))[0] for label in (1, 2))
            # the lowest square is whole: nothing lies over its last row
            lowest = made[max(rows_a.max(), rows_b.max())]
            assert np.count_nonzero(lowest) >= 8
            covered += np.count_nonzero(made) < 8 * 64
        assert covered

    def test_synthetic_images_are_pasted_between_each_other(self, dataset, tmp_path):
        """Which a SyntheticMixDataset around the wrapper keeps apart from the real ones."""
        pasted = dataset(count=(3, 3))
        pasted.pipeline.append(TRANSFORMS.build(dict(type='PackSegInputs', meta_keys=())))
        pasted.pipeline_types.append('PackSegInputs')
        mixed = SyntheticMixDataset(pasted, str(tmp_path / 'store'))
        store = SyntheticStore.prepare(str(tmp_path / 'store'), ['segmentation'], CLASSES, 'x', {})
        for source in range(5):
            image, labels = scene(ball=source == 0, rod=False)
            record = SampleRecord(
                id=store.sample_id(0, source, 0), round=0, source=source, source_path='', copy=0, seed=0, T=1, steps=1,
                solver='', caption='', checkpoint='', quality={},
            )  # fmt: skip
            store.add(record, 255 - image[..., ::-1], dict(segmentation=labels))
        mixed.serve(0)
        samples = [mixed[5 + slot] for slot in range(5)]
        labels = [sample['data_samples'].gt_sem_seg.data[0].numpy() for sample in samples]
        assert sum((seen == 1).any() for seen in labels) > 1 and not any((seen == 2).any() for seen in labels)
        background = np.concatenate([s['inputs'].numpy()[:, seen == 0] for s, seen in zip(samples, labels)], axis=1)
        assert background.min() == background.max() == 165  # of the real ones it is 90

    @pytest.mark.parametrize(
        ('options', 'words'),
        [
            (dict(classes='ball'), 'list of class names'),
            (dict(classes=[]), 'list of class names'),
            (dict(count=(3, 1)), 'the least and the most things'),
            (dict(scale=(0, 1)), 'factor'),
            (dict(prob=2), 'from 0 to 1'),
            (dict(shift=-1), 'from 0 to 1'),
            (dict(min_area=0), 'at least 1'),
            (dict(variants=0), 'at least 1'),
        ],
    )
    def test_bad_options(self, options, words):
        with pytest.raises(ValueError, match=words):
            PasteThings(**dict(dict(classes=['ball']), **options))

    def test_used_wrongly(self, dataset):
        with pytest.raises(ValueError, match="'bal'.*did you mean 'ball'"):
            dataset(classes=['bal'])[0]
        transform = TRANSFORMS.build(dict(type='PasteThings', classes=['ball']))
        with pytest.raises(ValueError, match='MultiImageMixDataset'):
            transform(dict(img=np.zeros((4, 4, 3)), img_path='x'))


def test_other_maps_would_stay_behind(dataset):
    things = TRANSFORMS.build(dict(type='PasteThings', classes=['ball']))
    things.get_indices(dataset().dataset)
    image, labels = scene()
    results = dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map', 'gt_depth_map'], img_path='a.png')
    with pytest.raises(ValueError, match='gt_depth_map would stay as they were: load label maps alone'):
        things(results)
