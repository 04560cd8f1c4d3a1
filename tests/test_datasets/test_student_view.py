"""Transforms of the student's images alone, and boxes of other images."""

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS, init_default_scope

from diff2in1_mm.datasets.student_view import StudentView, cut_mix
from diff2in1_mm.utils.randomness import seeded_generators

MEAN, STD = torch.tensor([123.675, 116.28, 103.53])[:, None, None], torch.tensor([58.395, 57.12, 57.375])[:, None, None]
COLOURS = [dict(type='PhotoMetricDistortion')]
SEEN = []


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


@TRANSFORMS.register_module()
class WithoutBlue(BaseTransform):
    """Of what a loader gives, BGR."""

    def transform(self, results):
        SEEN.append(results['img'].copy())
        results['img'][..., 0] = 0
        return results


def pictures(n=3):
    return torch.randint(256, (n, 3, 20, 24), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize('swapped', [True, False])
def test_transforms_are_given_what_a_loader_gives(swapped):
    pixels, view = pictures(), StudentView([dict(type='WithoutBlue')])
    SEEN.clear()
    seen = view((pixels - MEAN) / STD, MEAN, STD, swapped, range(3)) * STD + MEAN
    bgr = pixels.flip(1) if swapped else pixels
    assert np.array_equal(np.stack(SEEN), bgr.permute(0, 2, 3, 1).byte().numpy())
    expected = pixels.clone()
    expected[:, 2 if swapped else 0] = 0
    torch.testing.assert_close(seen, expected, atol=1e-3, rtol=0)


def test_a_view_is_its_seeds_and_leaves_all_generators():
    images, view = (pictures() - MEAN) / STD, StudentView(COLOURS)
    numpys, torchs = np.random.get_state()[1].copy(), torch.get_rng_state()
    both = view(images, MEAN, STD, True, [5, 6, 7])
    assert np.array_equal(numpys, np.random.get_state()[1]) and torch.equal(torchs, torch.get_rng_state())
    torch.testing.assert_close(view(images[1:], MEAN, STD, True, [6, 7]), both[1:])
    assert not torch.allclose(view(images, MEAN, STD, True, [8, 9, 10]), both)
    assert not torch.allclose(both, images)


def test_boxes_of_half_the_area_with_their_labels():
    names = [f's{i}' for i in range(40)]
    images = torch.arange(40.0)[:, None, None, None].expand(-1, 3, 32, 48)
    targets = [torch.full((1, 32, 48), i) for i in range(40)]
    mixed, labels = cut_mix(images, targets, 0.5, seeded_generators(0, samples=names))
    shares = []
    for i, (image, label) in enumerate(zip(mixed, labels)):
        assert (image == label).all() and set(label.unique().tolist()) - {i} != {i}
        foreign = label[0] != i
        shares.append(foreign.float().mean().item())
        if foreign.any():
            rows, columns = foreign.nonzero(as_tuple=True)
            assert foreign[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
            assert len(label.unique()) == 2
    changed = [share for share in shares if share]
    assert 10 < len(changed) < 30 and all(0.4 < share < 0.6 for share in changed)
    assert all((target == i).all() for i, target in enumerate(targets))
    alone, _ = cut_mix(images[:1], targets[:1], 1.0, seeded_generators(0, samples=names[:1]))
    assert torch.equal(alone, images[:1])


@pytest.mark.parametrize(
    ('value', 'words'),
    [
        ([dict(type='RandomFlip', prob=0.5)], 'RandomFlip of student_view moves pixels'),
        ([dict(type='Resize', scale=(48, 32))], 'Resize of student_view moves pixels'),
        ([dict(type='LoadImageFromFile')], 'LoadImageFromFile of student_view fails on an image alone'),
        ([], 'changes nothing: give it transforms'),
        (dict(transforms=COLOURS, of='real'), 'student_view.of must be one of'),
        (dict(cutmix=1.5), 'must be a share of the synthetic samples'),
        (dict(transform=COLOURS), 'must be a list of transforms, or a dict'),
    ],
)
def test_bad_views(value, words):
    with pytest.raises(ValueError, match=words):
        StudentView.of_config(value)
