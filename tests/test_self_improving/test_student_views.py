import torch

from diff2in1_mm.self_improving.student_views import pixel_statistics, strong_view
from diff2in1_mm.utils.randomness import seeded_generators

MEAN, STD = torch.full((3, 1, 1), 120.0), torch.full((3, 1, 1), 60.0)


def view(images, samples, iteration=0):
    return strong_view(images, MEAN, STD, seeded_generators(0, 'view', iteration, samples=samples))


def images(n=4):
    pixels = torch.rand(n, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * 255
    return (pixels - MEAN) / STD


def test_a_view_depends_on_the_sample_alone():
    batch = images()
    together = view(batch, ['a', 'b', 'c', 'd'])
    alone = view(batch[2:3], ['c'])
    torch.testing.assert_close(alone, together[2:3])
    assert not torch.allclose(view(batch, ['a', 'b', 'c', 'd'], iteration=1), together)


def test_a_view_stays_a_picture():
    batch = images()
    strong = view(batch, list('abcd'))
    pixels = strong * STD + MEAN
    assert strong.shape == batch.shape and -1e-3 <= pixels.min() and pixels.max() <= 255 + 1e-3
    assert all((strong[i] - batch[i]).abs().mean() > 0.02 for i in range(4))


def test_some_views_are_grey_some_blurred():
    batch = images(1).expand(64, -1, -1, -1)
    pixels = view(batch, range(64)) * STD + MEAN
    grey = (pixels - pixels.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 0.1
    roughness = pixels.diff(dim=3).abs().mean((1, 2, 3))
    assert 4 <= grey.sum() <= 24
    assert roughness.max() > 2 * roughness.min()


def test_statistics_of_the_data_preprocessor():
    preprocessor = torch.nn.Module()
    assert pixel_statistics(preprocessor, images())[1].eq(1).all()
    preprocessor.register_buffer('mean', MEAN)
    preprocessor.register_buffer('std', STD)
    assert torch.equal(pixel_statistics(preprocessor, images())[0], MEAN)
