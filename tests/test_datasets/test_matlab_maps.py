"""Boundaries of label maps, and parts that PASCAL-Part does not name."""

import io

import numpy as np
import pytest
from scipy.io import savemat

from diff2in1_mm.datasets.matlab_maps import changes, human_parts


def test_changes_are_one_pixel_wide():
    labels = np.zeros((6, 6), int)
    labels[2:4, 2:4] = 7
    found = changes(labels)
    assert found.sum() == 7 and found[1, 2] and found[2, 1] and found[3, 3] and not found[4].any()


@pytest.mark.parametrize('name, words', [('wing', "'wing' of a person"), (None, 'names no object')])
def test_strange_files(name, words):
    kinds = [('class_ind', object), ('mask', object), ('parts', object)]
    part = np.array([(name, np.ones((2, 2)))], dtype=[('part_name', object), ('mask', object)])
    objects = np.array([(15, np.ones((2, 2)), part)], dtype=kinds)[: 0 if name is None else 1]
    file = io.BytesIO()
    savemat(file, dict(anno=dict(objects=objects)))
    file.seek(0)
    with pytest.raises(OSError, match=words):
        human_parts(file, 'a.mat')
