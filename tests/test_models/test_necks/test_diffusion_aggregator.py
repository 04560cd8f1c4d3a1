"""The aggregator: equal to the released one, and at any size."""

import pytest
import torch

from diff2in1_mm.conversion.aggregator import convert_aggregator
from diff2in1_mm.models.necks.diffusion_aggregator import DiffusionAggregator
from tests.golden_values import Golden


def released(golden):
    """Our module with the reference's weights, and the inputs as our backbone groups them."""
    neck = DiffusionAggregator()
    state, unused = convert_aggregator(golden.state())
    result = neck.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    # a parameter-free norm of ours counts its batches, the reference's does not
    assert all(key.endswith('num_batches_tracked') for key in result.missing_keys)
    assert all(key.startswith(('transfromer', 'mlp', 'to_')) for key in unused) and unused
    groups = []
    for group in ('highest', 'high', 'mid', 'low'):
        count = len(golden.spec['config']['channels'][group])
        groups.append(torch.cat([golden.input(f'{group}.{i}') for i in range(count)], 1))
    return neck, groups


@pytest.mark.parametrize('name, training', [('sn_module', False), ('sn_module_train', True)])
def test_it_equals_the_released_module(golden, name, training):
    values = Golden(golden, name)
    neck, groups = released(values)
    with torch.no_grad():
        outputs = neck.train(training)(groups)
    for i, output in enumerate(reversed(outputs)):
        assert values.error(f'out{i}', output) <= 5 * values.rounding(f'out{i}')
    names = [output['name'] for output in values.spec['outputs']]
    buffers = [name.split('after.')[1] for name in names if 'after.' in name]
    assert bool(buffers) == training
    state = neck.state_dict()
    for key in buffers:
        (ours,), _ = convert_aggregator({key: None})
        assert values.error(f'after.{key}', state[ours]) < 1e-6


@pytest.fixture
def small():
    torch.manual_seed(0)
    return DiffusionAggregator((6, 8, 10, 12), (4, 6, 8, 10, 12)).eval()


@pytest.mark.parametrize('sizes', [((16, 24), (8, 12), (4, 6), (2, 3)), ((13, 9), (7, 5), (4, 3), (2, 2))])
def test_any_size(small, sizes):
    groups = [torch.randn(2, c, *size) for c, size in zip((6, 8, 10, 12), sizes)]
    maps = small(groups)
    assert [m.shape[1] for m in maps] == [4, 6, 8, 10, 12]
    height, width = sizes[0]
    expected = [(4 * height, 4 * width), (2 * height, 2 * width), *sizes[:3]]
    assert [tuple(m.shape[-2:]) for m in maps] == expected


def test_eval_leaves_the_buffers(small):
    before = {name: value.clone() for name, value in small.named_buffers()}
    groups = [torch.randn(1, c, s, s) for c, s in zip((6, 8, 10, 12), (16, 8, 4, 2))]
    small(groups)
    for name, value in small.named_buffers():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    small.train()(groups)
    assert not torch.equal(small.mix_mid.conv1.left, before['mix_mid.conv1.left'])


def test_the_estimate_converges_to_the_largest_singular_value(small):
    conv = small.mix_mid.conv1.train()
    for _ in range(200):
        weight = conv.normalised_weight()
    largest = torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item()
    assert largest == pytest.approx(1, abs=1e-3)
    weight.sum().backward()
    assert conv.weight.grad.abs().sum() > 0  # sigma has a gradient too


def test_four_groups_are_wanted():
    with pytest.raises(ValueError, match='U-Net with four resolutions'):
        DiffusionAggregator((6, 8, 10))
