"""Whether a file or the pipeline is at fault."""

import numpy as np
import pytest
from scipy.io import savemat

from diff2in1_mm.datasets.readable import unreadable_file


def write(path):
    if path.suffix == '.npy':
        np.save(path, np.zeros(3))
    elif path.suffix == '.mat':
        savemat(path, dict(a=np.zeros(3)))
    else:
        path.write_bytes(b'a format of its own')


@pytest.mark.parametrize('ending', ['npy', 'mat', 'pfm'])
def test_a_whole_file_leaves_the_fault_to_the_pipeline(tmp_path, ending):
    path = tmp_path / f'a.{ending}'
    write(path)
    assert unreadable_file(dict(seg_map_path=str(path)), KeyError('imgg')) == ''


@pytest.mark.parametrize('ending', ['npy', 'mat', 'png'])
def test_a_damaged_file_is_named(tmp_path, ending):
    path = tmp_path / f'a.{ending}'
    path.write_bytes(b'neither')
    assert unreadable_file(dict(seg_map_path=str(path)), KeyError('imgg')) == str(path)
