"""The cache tells images apart by all of their pixels."""

import pytest
import torch

from diff2in1_mm.models.backbones import feature_cache
from diff2in1_mm.models.backbones.feature_cache import FeatureCache


def seen(cache, images):
    """Rows that a batch has computed."""
    computed = []
    (maps,) = cache.get(images, lambda missing: computed.extend(missing) or (missing * 2,))
    assert torch.equal(maps, images * 2)
    return len(computed)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_any_pixel_makes_another_image(layout, dtype):
    images = torch.arange(3.0 * 5 * 4).reshape(1, 3, 5, 4).to(dtype).contiguous(memory_format=layout)
    cache = FeatureCache(100)
    assert seen(cache, images) == 1
    for place in range(images.numel()):
        other = images.clone()
        other[0, place // 20, place // 4 % 5, place % 4] += 64
        assert seen(cache, other) == 1, place
    assert seen(cache, images) == 0


def test_the_same_bytes_of_another_shape_or_kind_are_another_image():
    cache, pixels = FeatureCache(10), torch.zeros(1, 3, 4, 6)
    assert seen(cache, pixels) == 1
    assert seen(cache, pixels.reshape(1, 3, 6, 4)) == 1
    assert seen(cache, pixels.to(torch.int32)) == 1
    assert seen(cache, torch.cat([pixels, pixels + 1, pixels])) == 1


@pytest.mark.parametrize('again, told', [(False, 1), (True, 0)])
def test_a_cache_that_finds_nothing_says_so_once(monkeypatch, again, told):
    said = []
    monkeypatch.setattr(feature_cache, 'print_log', lambda message, *rest, **more: said.append(message))
    cache = FeatureCache(50)
    for number in range(120):
        images = torch.full((10, 3, 2, 2), 0.0) + torch.arange(10.0).view(-1, 1, 1, 1) + (0 if again else 10 * number)
        cache.get(images, lambda missing: (missing,))
    assert len(said) == told and all('found 0 of the first 1000 images again' in message for message in said)
