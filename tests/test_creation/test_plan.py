"""Which samples are made, how many of each source image, and in which batches."""

from collections import Counter

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope

from diff2in1_mm.creation.plan import copies_of, make_plan, source_indices
from diff2in1_mm.creation.settings import CreationSettings

from ..tiny_segmentation import build_dataset, dataset_config, make_images


@pytest.fixture
def world(tmp_path):
    """Makes a data set of images of sky and road; those that are named show a tree too."""
    init_default_scope('mmseg')

    def made(count, trees):
        for folder in ('img', 'ann'):
            (tmp_path / folder).mkdir()
        for i in range(count):
            labels = np.zeros((8, 8), np.uint8)
            labels[4:] = 2
            labels[2:4, 2:4] = i in trees
            cv2.imwrite(str(tmp_path / f'img/{i}.png'), np.zeros((8, 8, 3), np.uint8))
            cv2.imwrite(str(tmp_path / f'ann/{i}.png'), labels)
        return DATASETS.build(dataset_config(tmp_path))

    return made


def copies(dataset, **options):
    return list(copies_of(dataset, source_indices(dataset), CreationSettings(**options)).values())


def test_rare_classes_get_more_of_the_same_number(world):
    dataset = world(4, trees=[3])  # a quarter: the root of four
    assert copies(dataset, copies_per_source=5) == [5] * 4
    assert copies(dataset, copies_per_source=5, sources='by_class_frequency') == [4, 4, 4, 8]


def test_hard_images_get_more_of_the_same_number(world):
    dataset = world(4, trees=[])
    hardness = {0: 0.1, 1: 0.9, 2: 0.5, 3: 0.2}  # ranks 1, 4, 3 and 2, of 10 in all
    settings = CreationSettings(copies_per_source=5, sources='by_hardness')
    assert list(copies_of(dataset, [0, 1, 2, 3], settings, hardness).items()) == [(0, 2), (3, 4), (2, 6), (1, 8)]


def test_what_rounding_leaves_goes_to_the_largest_remainders(world):
    dataset = world(9, trees=[4])  # weights 1 and 3, of 11 in all
    found = copies(dataset, sources='by_class_frequency')
    assert found == [1, 1, 1, 1, 2, 1, 1, 1, 0]  # 9 / 11 each, and 27 / 11


def test_the_plan_has_these_samples_and_shows_images_that_have_one(world):
    dataset, settings = world(9, trees=[4]), CreationSettings(sources='by_class_frequency', batch_size=2)
    plan = make_plan(dataset, settings.build_generator(), settings, 0, 0)
    made = Counter(sample.source for sample in plan.samples)
    assert made[4] == 2 and 8 not in made and sum(made.values()) == 9
    assert len({sample.id for sample in plan.samples}) == 9
    assert {s.source for batch in plan.preview for s in batch} <= made.keys()


def test_images_without_any_class_are_told(world, tmp_path):
    dataset = world(2, trees=[])
    for i in range(2):
        cv2.imwrite(str(tmp_path / f'ann/{i}.png'), np.full((8, 8), 255, np.uint8))
    with pytest.raises(ValueError, match="finds no class in any source image: set it to 'uniform'"):
        copies(dataset, sources='by_class_frequency')
    with pytest.raises(ValueError, match='creation.sources'):
        CreationSettings(sources='rarest')


def test_the_shares_are_the_plan(dataset):
    settings = CreationSettings(batch_size=2, copies_per_source=5, T=[100, 300])
    plan = make_plan(dataset, settings.build_generator(), settings, 0, 0)
    assert len({sample.id for sample in plan.samples}) == len(plan.samples) == 35
    assert all(len({sample.T for sample in batch}) == 1 for batch in plan.preview + plan.rest)
    shares = [plan.share(rank, 3) for rank in range(3)]
    assert sorted(s for share in shares for s in share.samples) == sorted(plan.samples)
    sizes = [len(share.samples) for share in shares]
    assert max(sizes) - min(sizes) <= 2 and shares[0].preview == plan.preview
    assert not shares[1].preview


def test_images_that_become_one_size_share_batches(tmp_path):
    root = make_images(tmp_path)
    for index, path in enumerate(sorted((root / 'img').iterdir())):
        height, width = [(64, 96), (32, 48), (40, 60), (96, 64)][index % 4]
        cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
    dataset = build_dataset(root)
    settings = CreationSettings(batch_size=8, T=100, scale=(48, 48))
    plan = make_plan(dataset, settings.build_generator(), settings, 0, 0)
    assert len(plan.preview) == 2  # upright ones, and the others
