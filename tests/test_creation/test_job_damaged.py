"""Label maps that cannot be read: their images are named and left out, as those that cannot be read themselves."""

import shutil

import pytest

from diff2in1_mm.creation.create import create
from diff2in1_mm.store.store import SyntheticStore

from ..tiny_segmentation import CLASSES, FAST, build_dataset

LEVELS = {'default': 300, CLASSES[0]: 0}


@pytest.mark.parametrize(
    'settings',
    [
        dict(label_from='source'),
        dict(T=LEVELS),
        dict(T=LEVELS, label_from='by_class'),
        dict(label_from='source', compose=dict(classes=[CLASSES[0]])),
        dict(label_from='source', filter_above=1.25),
    ],
    ids=str,
)
def test_a_damaged_label_map(model, root, tmp_path, settings):
    data = shutil.copytree(root, tmp_path / 'data')
    whole = (data / 'ann/3.png').read_bytes()
    (data / 'ann/3.png').write_bytes(whole[:40])
    given = {**FAST, **settings}
    report = create(model, build_dataset(data), tmp_path / 's', **given)
    assert report.samples >= 6 and [path[-9:] for path in report.skipped] == ['img/3.png']
    assert 3 not in {record.source for record in SyntheticStore(tmp_path / 's').records()}
    # mended, it is made like the others
    (data / 'ann/3.png').write_bytes(whole)
    again = create(model, build_dataset(data), tmp_path / 's', **given)
    assert (again.skipped, again.samples >= 1) == ([], True)


@pytest.mark.parametrize('sources', ['by_class_frequency', 'by_hardness'])
def test_who_gets_more_copies_is_told_by_what_can_be_read(model, root, tmp_path, sources):
    data = shutil.copytree(root, tmp_path / 'data')
    (data / 'ann/3.png').write_bytes(b'no picture')
    report = create(model, build_dataset(data), tmp_path / 's', sources=sources, copies_per_source=2, **FAST)
    assert report.samples >= 12 and not report.skipped


def test_an_image_without_a_label_map_has_one_level(model, root, tmp_path):
    """As data sets of several tasks say it: None in place of a path."""
    dataset = build_dataset(root)
    dataset.full_init()
    found = dataset.get_data_info
    dataset.get_data_info = lambda i: dict(found(i), **({'seg_map_path': None} if i == 2 else {}))
    report = create(model, dataset, tmp_path / 's', **{**FAST, 'T': LEVELS})
    assert (report.samples, report.skipped) == (7, [])
