"""Label maps and photographs as ordinary exports have them: what is told before training."""

from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from diff2in1_mm.datasets.folders import check_folders
from diff2in1_mm.preflight.findings import Findings
from diff2in1_mm.preflight.inputs import check_heads
from diff2in1_mm.preflight.label_maps import check_labels
from diff2in1_mm.utils.errors import UserError

from .sets import STRIPES, build, folder

pytest.importorskip('mmseg')


def test_ordinary_maps_are_not_spoken_of(tmp_path, warnings):
    dataset = build(folder(tmp_path, [STRIPES.astype('uint8')] * 3))
    assert check_labels(dataset) == 3
    assert not warnings


@pytest.mark.parametrize(
    'maps, options, sentence',
    [
        (np.where(STRIPES > 0, 255, 0), {}, 'none of 3 .* has the class sky, tree, and 6[0-9]% of their pixels'),
        (STRIPES % 2, dict(reduce_zero_label=True), r'after reduce_zero_label or label_map\) has the class sky, tree'),
        (np.full((6, 8), 255), {}, 'has the class road, sky, tree, and 100% of their pixels'),
    ],
)
def test_maps_with_nothing_to_tell_apart(tmp_path, warnings, maps, options, sentence):
    dataset = build(folder(tmp_path, [maps.astype('uint8')] * 3), **options)
    with pytest.raises(UserError, match=sentence):
        check_labels(dataset)
    check_labels(dataset, learned=False)
    assert 'if that is not meant' in warnings[0]
    check_labels(dataset, findings=Findings(['seen_classes']))
    assert len(warnings) == 1


def test_rare_classes_are_looked_for_before_a_refusal(tmp_path, warnings):
    maps = [np.zeros((6, 8), 'uint8') for _ in range(20)]
    maps[7][2, 3] = 2
    dataset = build(folder(tmp_path, maps))
    assert check_labels(dataset, 3) == 20
    assert len(warnings) == 1 and 'none of 20 label maps' in warnings[0] and 'class sky,' in warnings[0]


def test_several_channels_and_lost_bits(tmp_path):
    dataset = build(folder(tmp_path / 'rgb', [STRIPES[..., None].repeat(3, 2).astype('uint8')] * 2))
    with pytest.raises(
        UserError, match=r'0\.png is loaded with the shape \(6, 8, 3\), but a label map has one channel'
    ):
        check_labels(dataset)
    dataset = build(folder(tmp_path / 'deep', [(STRIPES + 256 * (STRIPES == 1)).astype('uint16')] * 2))
    with pytest.raises(UserError, match=r'0\.png holds the values 257, which are cut to 8 bits'):
        check_labels(dataset)
    assert check_labels(build(folder(tmp_path / 'fits', [STRIPES.astype('uint16')] * 2))) == 2


def head(num_classes, out_channels, use_sigmoid):
    module = nn.Module()
    module.num_classes, module.out_channels = num_classes, out_channels
    module.loss_decode = nn.Module()
    module.loss_decode.use_sigmoid = use_sigmoid
    return module


@pytest.mark.parametrize(
    'options, fits',
    [
        ((1, 1, False), False),
        ((2, 1, False), False),
        ((2, 1, True), True),
        ((3, 3, False), True),
        ((1, 1, True), False),
    ],
)
def test_heads_of_a_single_class(options, fits):
    model = SimpleNamespace(decode_head=nn.ModuleList([head(3, 3, False), head(*options)]), auxiliary_head=None)
    if fits:
        check_heads(model)
    else:
        with pytest.raises(UserError, match=r'model\.decode_head\[1\] has num_classes=.*use_sigmoid=True'):
            check_heads(model)


def test_class_names_that_are_one_text(tmp_path):
    (tmp_path / 'names.txt').write_text('road\n')
    check_folders(dict(type='BaseSegDataset', metainfo=dict(classes=str(tmp_path / 'names.txt'))))
    with pytest.raises(UserError, match=r"the classes 'road', a text .*\('road',\) with a comma"):
        check_folders(dict(dataset=dict(type='BaseSegDataset', metainfo=dict(classes='road'))))
