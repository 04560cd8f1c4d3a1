"""Mutations of faultless label maps and pictures: refused, told in a warning, or read as their files are."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from diff2in1_mm.preflight.batches import name_unreadable_files
from diff2in1_mm.preflight.findings import Findings
from diff2in1_mm.preflight.label_maps import check_labels
from diff2in1_mm.preflight.pictures import check_pictures
from diff2in1_mm.utils.errors import UserError

from ..malformed import CUTS, flipped, generated, place, untouched
from .sets import STRIPES, build, folder

pytest.importorskip('mmseg')


def as_mode(mode):
    return lambda labels: Image.fromarray(labels.astype('uint8')).convert(mode)


CHANGES = (
    *map(as_mode, ('L', 'P', 'RGB', 'RGBA', 'LA', '1')),
    lambda labels: Image.fromarray((labels * 300).astype('uint16')),
    lambda labels: Image.fromarray((labels + 65000).astype('uint16')),
    lambda labels: Image.fromarray((labels + 2).astype('uint8')),
    lambda labels: Image.fromarray((labels * 127).astype('uint8')),
    lambda labels: Image.fromarray(labels[:, ::2].astype('uint8')),
    lambda labels: Image.fromarray(labels.T.astype('uint8')),
)


@generated(70)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(range(len(CHANGES)))), max_size=2),
    target=st.sampled_from(['annotations', 'images']),
    cuts=st.none() | CUTS,
    gone=st.booleans(),
)
def test_label_maps_are_read_as_their_files_are_or_spoken_of(changes, target, cuts, gone):
    with place() as (root, said):
        folder(root, [STRIPES.astype('uint8')] * 3)
        for index, change in changes:
            CHANGES[change](STRIPES).save(root / target / f'{index}.png')
        path = root / target / '1.png'
        if cuts is not None:
            path.write_bytes(flipped(path.read_bytes(), cuts))
        elif gone and target == 'annotations':
            path.unlink()
        with untouched(root):
            dataset = build(root)
            try:
                check_pictures(dataset, Findings())
                check_labels(dataset)
            except UserError as error:
                assert str(root) in str(error)
                return
            name_unreadable_files(dataset)
            for i in range(len(dataset)):
                try:
                    sample = dataset[i]
                except UserError as error:
                    assert f'{i}.png cannot be read' in str(error)
                    continue
                with Image.open(root / f'annotations/{i}.png') as picture:
                    meant = np.asarray(picture)
                read = sample['data_samples'].gt_sem_seg.data[0].numpy()
                assert said or (np.array_equal(read, meant) and sample['inputs'].shape[1:] == read.shape)
