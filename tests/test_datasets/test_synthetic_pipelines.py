"""Samples of a store, which lies on the disk, among real ones that lie elsewhere."""

import pytest
from mmengine.registry import DATASETS

from ..archive import archived, from_archive
from .folders import add_samples, base_config, grey, make_folder, open_store

pytest.importorskip('mmseg')


def test_each_kind_is_read_from_its_own_place(tmp_path):
    make_folder(tmp_path / 'set', 4)
    mix = DATASETS.build(
        dict(
            type='SyntheticMixDataset',
            store=str(tmp_path / 'store'),
            dataset=from_archive(base_config('set'), tmp_path),
        )
    )
    ids = add_samples(open_store(tmp_path / 'store'), range(4))
    mix.serve(0)
    assert [grey(mix[i]) for i in range(8)] == [0, 1, 2, 3, 100, 101, 102, 103]
    assert mix.source_info(1)['backend_args'] == archived(tmp_path)
    (tmp_path / 'set/images/01.png').write_bytes(b'no image')
    (stored,) = (tmp_path / 'store/images').rglob(f'{ids[2]}.png')
    stored.write_bytes(b'no image')
    assert [grey(mix[i]) for i in (1, 6)] == [2, 103] and mix.unreadable == 2


def test_pipelines_without_reason_for_a_copy_are_the_data_sets_own(tmp_path):
    mix = DATASETS.build(
        dict(
            type='SyntheticMixDataset',
            store=str(tmp_path / 'store'),
            dataset=base_config(make_folder(tmp_path / 'set', 1)),
        )
    )
    assert mix._pipelines.of(mix.real) is mix.pipeline
