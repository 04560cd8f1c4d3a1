"""Decoders in which tasks learn from one another: InvPT's and TaskPrompter's."""

import pytest
import torch
from mmengine.registry import MODELS

pytest.importorskip('mmseg')

from diff2in1_mm.utils.errors import UserError  # noqa: E402

OUT = dict(segmentation=5, depth=1, boundaries=1)
SMALL = dict(
    InvPTHead=dict(type='InvPTHead', channels=8, width=16, drop_path=0.0),
    TaskPrompterHead=dict(type='TaskPrompterHead', channels=16, width=8, layers=2, num_heads=4, drop_path=0.0),
)


def build(kind, in_channels=(4, 6, 8), **options):
    torch.manual_seed(0)
    return MODELS.build(dict(SMALL[kind], in_channels=list(in_channels), out_channels=OUT, **options)).eval()


def pyramid(size=(6, 10), channels=(4, 6, 8), count=2):
    generator = torch.Generator().manual_seed(1)
    sizes = [tuple(side * 2 ** (len(channels) - 1 - i) for side in size) for i in range(len(channels))]
    return [torch.randn(count, c, *s, generator=generator) for c, s in zip(channels, sizes)]


@pytest.mark.parametrize('size', [(4, 4), (3, 5)])
@pytest.mark.parametrize('kind', SMALL)
def test_every_task_has_a_map_and_learns(kind, size):
    head = build(kind)
    found = head(pyramid(size))
    width, level = SMALL[kind]['width'], dict(InvPTHead=8, TaskPrompterHead=2 * 4)[kind]
    assert list(found.features) == list(OUT)
    assert {tuple(m.shape) for m in found.features.values()} == {(2, width, size[0] * level, size[1] * level)}
    assert {t: m.shape[1] for t, m in found.early.items()} == (OUT if kind == 'InvPTHead' else {})
    sum(m.square().sum() for maps in found for m in maps.values()).backward()
    assert [name for name, p in head.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize('kind', SMALL)
def test_a_task_hears_of_the_others(kind):
    """What only one task's own layers make reaches another task's map."""
    head = build(kind)
    inputs = pyramid()
    before = head(inputs).features['depth']
    with torch.no_grad():
        if kind == 'InvPTHead':
            head.mix['boundaries'].bias += torch.linspace(-2, 2, 16)
        else:
            head.prompts[2] += torch.linspace(-9, 9, 16)
    change = (head(inputs).features['depth'] - before).abs().max()
    assert change > 1e-4


def test_scores_of_a_stage_are_handed_on():
    """Message passing: where only the earlier scores count, the later attention is theirs, enlarged."""
    head = build('InvPTHead')
    block = head.blocks[1]
    with torch.no_grad():
        block.fuse.weight.zero_()
        block.fuse.bias.zero_()
        for i in range(block.num_heads):
            block.fuse.weight[i, block.num_heads + i] = 1
    maps = [torch.randn(1, 8, 8, 8) for _ in OUT]
    before = torch.randn(1, 2, len(OUT) * 2 * 2, len(OUT) * 4)
    _, (scores, size) = block(maps, (2, 2), (before, (2, 2)))
    assert size == (4, 4) and scores.shape == (1, 2, len(OUT) * 16, len(OUT) * 4)
    own = before.unflatten(2, (len(OUT), 2, 2))
    torch.testing.assert_close(scores.unflatten(2, (len(OUT), 4, 4))[:, :, :, 0, 0], own[:, :, :, 0, 0])


@pytest.mark.parametrize(
    'kind, options, words',
    [
        ('InvPTHead', dict(width=20), 'multiple of 8'),
        ('InvPTHead', dict(in_channels=[4, 6]), 'three or more maps'),
        ('InvPTHead', dict(in_channels=8), 'in_channels = 8 of InvPTHead must be a list'),
        ('InvPTHead', dict(num_heads=0), 'num_heads of InvPTHead = 0 must be a whole number of at least 1'),
        ('InvPTHead', dict(channels=0), 'channels of InvPTHead = 0 must be'),
        ('InvPTHead', dict(drop_path=2), r'drop_path = 2 of InvPTHead must be in \[0, 1\)'),
        ('InvPTHead', dict(mlp_ratio=0), 'mlp_ratio = 0 of InvPTHead must be a number above 0'),
        ('TaskPrompterHead', dict(channels=18), 'multiple of num_heads'),
        ('TaskPrompterHead', dict(layers=0), 'layers of TaskPrompterHead = 0 must be'),
        ('TaskPrompterHead', dict(grid=0), 'grid of TaskPrompterHead = 0 must be'),
        ('TaskPrompterHead', dict(level=9), 'level = 9 of TaskPrompterHead must be .* of the 3 maps .* from -3 to 2'),
    ],
)
def test_bad_options(kind, options, words):
    with pytest.raises(UserError, match=words):
        MODELS.build(dict(SMALL[kind], in_channels=[4, 6, 8], out_channels=OUT) | options)


def test_maps_that_it_was_not_built_for():
    with pytest.raises(UserError, match=r'in_channels = \[4, 6, 8\] of InvPTHead do not fit .* \[6, 8\] channels'):
        build('InvPTHead')(pyramid(channels=(6, 8)))
    with pytest.raises(UserError, match='of TaskPrompterHead do not fit'):
        build('TaskPrompterHead')(pyramid(channels=(2, 4, 6, 8)))
    assert build('InvPTHead')(pyramid(channels=(2, 4, 6, 8)))  # which reads the last three
