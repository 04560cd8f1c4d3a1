"""Distances between sets of images, and the diversity of samples."""

import pytest
import torch

from diff2in1_mm.evaluation.generated_images import DiffusionFeatures, distances, diversity, inception_features

pytest.importorskip('torchmetrics')


def gaussian(count, shift=0.0, scale=1.0, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator) * scale + shift


def test_fid_of_gaussians_is_their_frechet_distance():
    first, second = gaussian(4000), gaussian(4000, shift=1.0, scale=2.0, seed=1)
    # |difference of means|^2 + sum (s1 - s2)^2, for diagonal covariances
    assert distances(first, second)['fid'] == pytest.approx(5 * 1.0 + 5 * 1.0, rel=0.1)


def test_kid_tells_near_from_far():
    first = gaussian(200)
    same, near, far = (distances(first, gaussian(200, shift=s, seed=1))['kid'] for s in (0.0, 0.5, 1.5))
    assert abs(same) < near < far
    assert distances(first, gaussian(200, seed=1)) == distances(first, gaussian(200, seed=1))


def test_kid_does_not_depend_on_the_scale_of_single_features():
    scales = torch.tensor([1.0, 100.0, 0.01, 1.0, 7.0])
    a, b = gaussian(100), gaussian(100, shift=1.0, seed=1)
    assert distances(a * scales, b * scales)['kid'] == pytest.approx(distances(a, b)['kid'], rel=1e-3)


def mmd(first, second):
    """The unbiased squared MMD of the kernel (x y / d + 1)^3 between sets of equal size."""

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    count = len(first)
    within = [(kernel(x, x).sum() - kernel(x, x).trace()) / (count * (count - 1)) for x in (first, second)]
    return float(sum(within) - 2 * kernel(first, second).mean())


def test_kid_of_inception_is_of_features_as_they_are():
    first, second = 3 * gaussian(100), 3 * gaussian(100, shift=1.0, seed=1)
    found = distances(first, second, standardise=False)['kid']
    assert found == pytest.approx(mmd(first.double(), second.double()), rel=0.2)
    assert distances(first, second)['kid'] < found / 5


def test_few_images_have_no_fid():
    assert 'fid' not in distances(gaussian(5), gaussian(5, seed=1))
    with pytest.raises(ValueError, match='at least 4'):
        distances(gaussian(5), gaussian(3))


def test_diversity_of_copies_is_zero_and_of_other_images_one():
    images = [torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (0, 100, 200, 50)]
    features = gaussian(4, dim=3)
    copies = diversity(images, images, features, features)
    assert copies == dict(pixels=0.0, features=0.0)
    others = diversity(images, images[1:] + images[:1], features, features.roll(-1, 0))
    assert others['pixels'] > 0.3 and 0.5 < others['features'] < 1.5


def test_diversity_does_not_depend_on_the_number_of_copies():
    sources = [torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (0, 100, 200, 50)]
    samples = sources[1:] + sources[:1]
    of_sources, of_samples = gaussian(4, dim=3), gaussian(4, dim=3, seed=1)
    once = diversity(sources, samples, of_sources, of_samples)
    thrice = diversity(sources * 3, samples * 3, of_sources.repeat(3, 1), of_samples.repeat(3, 1))
    assert thrice == pytest.approx(once)
    assert list(diversity(sources[:1], samples[:1], of_sources[:1], of_samples[:1])) == ['pixels']


def test_small_images_have_features(pipeline_folder):
    network = DiffusionFeatures(pipeline_folder)
    assert torch.isfinite(network(torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8))).all()


def test_features_of_a_backbone(pipeline_folder):
    network = DiffusionFeatures(pipeline_folder)
    images = torch.randint(0, 256, (3, 3, 32, 48), dtype=torch.uint8)
    found = network(images)
    assert found.shape == (3, 2 * sum(network.backbone.out_channels))
    torch.testing.assert_close(found[:1], network(images[:1]), rtol=1e-4, atol=1e-5)


def test_inception_says_what_is_missing(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match='leave --inception out'):
        inception_features(str(tmp_path / 'none.pth'))
    (tmp_path / 'some.pth').write_bytes(b'')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ImportError, match='pip install torch-fidelity'):
        inception_features(str(tmp_path / 'some.pth'))
