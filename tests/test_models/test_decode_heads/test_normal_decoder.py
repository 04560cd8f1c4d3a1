"""The decoder of Bae et al.: equal to the reference, dense and sampled."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from diff2in1_mm.conversion.normal_decoder import convert_normal_decoder
from diff2in1_mm.models.decode_heads.normal_decoder import NormalDecoder, normalise
from tests.golden_values import Golden


def released(values):
    decoder = NormalDecoder(importance_ratio=1.0).eval()
    decoder.load_state_dict(convert_normal_decoder(values.state()))
    return decoder, [values.input(f'x_block{i}') for i in range(5)]


def test_dense_prediction_equals_the_reference(golden):
    values = Golden(golden, 'bae_decoder')
    decoder, inputs = released(values)
    with torch.no_grad():
        results = decoder(inputs)
    for scale, result in zip((8, 4, 2, 1), results):
        name = f'out_res{scale}'
        assert values.error(name, result.maps) <= 5 * values.rounding(name)
        assert result.points is None


def test_sampled_prediction_equals_the_reference(golden):
    """Importance ratio 1: nothing is random."""
    values = Golden(golden, 'bae_decoder_train')
    decoder, inputs = released(values)
    with torch.no_grad():
        results = decoder(inputs, sampled=True, mask=values.input('mask_noise') > -0.5)
    for scale, result in zip((8, 4, 2, 1), results):
        name = f'out_res{scale}'
        assert values.error(name, result.maps) <= 5 * values.rounding(name)
        if result.points is None:
            continue
        # the order of points of nearly equal kappa is a matter of rounding, their set is not
        height, width = result.maps.shape[-2:]
        x, y = ((result.coordinates[:, 0] + 1) / 2 * torch.tensor([width - 1, height - 1])).round().long().unbind(-1)
        chosen = torch.zeros(len(x), height * width).scatter(1, y * width + x, 1.0)
        assert values.error(f'chosen_res{scale}', chosen.view(-1, height, width)) == 0
        # and every point's prediction is the map's value there
        at_points = result.maps.flatten(2).gather(2, (y * width + x)[:, None].expand(-1, 4, -1))
        torch.testing.assert_close(at_points, result.points, rtol=0, atol=0)


@pytest.fixture(scope='module')
def small():
    torch.manual_seed(0)
    return NormalDecoder((8, 8, 8, 16, 32), channels=128)


def pyramid(size, count=2):
    return [torch.randn(count, c, size // 2**k, size // 2**k) for k, c in enumerate((8, 8, 8, 16, 32))]


def test_sampling_is_for_training_only_a_part(small):
    torch.manual_seed(1)
    results = small(pyramid(32), sampled=True)
    assert [tuple(r.maps.shape[-2:]) for r in results] == [(8, 8), (16, 16), (32, 32), (64, 64)]
    assert [r.points.shape[-1] for r in results[1:]] == [int(0.4 * 4**k) for k in (4, 5, 6)]
    sum(r.maps.sum() for r in results).backward()
    assert all(p.grad is not None for p in small.parameters())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 3), columns=st.integers(1, 3), scale=st.floats(0.01, 100))
def test_the_decoders_normals_have_unit_length_at_every_scale(small, seed, rows, columns, scale):
    generator = torch.Generator().manual_seed(seed)
    inputs = [
        scale * torch.randn(1, c, 16 // 2**k * rows, 16 // 2**k * columns, generator=generator)
        for k, c in enumerate((8, 8, 8, 16, 32))
    ]
    with torch.no_grad():
        for result in small.eval()(inputs):
            length = result.maps[:, :3].norm(dim=1)
            torch.testing.assert_close(length, torch.ones_like(length), rtol=1e-4, atol=1e-4)
            assert (result.maps[:, 3] >= 0.01).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(1e-3, 1e3))
def test_normals_have_unit_length_and_kappa_is_positive(seed, scale):
    raw = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(seed)) * scale
    found = normalise(raw)
    torch.testing.assert_close(found[:, :3].norm(dim=1), torch.ones(2, 5, 6), rtol=1e-4, atol=1e-4)
    assert (found[:, 3] > 0).all()
