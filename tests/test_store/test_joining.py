"""Several stores as one, and the same bytes however the samples were shared out."""

import json
import os

import numpy as np
import pytest

from diff2in1_mm.store.joining import join
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore
from diff2in1_mm.tasks.instances import Instances
from diff2in1_mm.utils.errors import UserError

from ..stores import read_one
from .samples import PURPOSE, fill, make_record, make_sample
from .test_purpose import first_version


def made(root, shares):
    """A store of some samples, in the order of their creation."""
    store = SyntheticStore.prepare(root, **PURPOSE)
    for round, sources in shares:
        fill(store, sources, round)
    return root


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob('*') if p.is_file() and p.name != '.lock'}


def test_the_union_is_the_store_of_one_process(tmp_path):
    whole = made(tmp_path / 'whole', [(0, range(12)), (1, [3, 120])])
    shares = [
        made(tmp_path / 'a', [(0, [11, 0, 4])]),
        made(tmp_path / 'b', [(1, [120]), (0, range(5, 11))]),
        made(tmp_path / 'c', [(0, [3, 2, 1, 4]), (1, [3])]),
    ]
    SyntheticStore(shares[1]).add_empty(SyntheticStore.sample_id(0, 50, 0), 0, 'c0')
    SyntheticStore(whole).add_empty(SyntheticStore.sample_id(0, 50, 0), 0, 'c0')
    joined = join(tmp_path / 'joined', shares)
    assert len(joined) == 14 and not joined.damaged
    assert contents(join(tmp_path / 'again', [whole]).root) == contents(tmp_path / 'joined')
    records = [path for path in contents(tmp_path / 'joined') if path.startswith('records')]
    assert records == ['records/r000-joined.jsonl', 'records/r001-joined.jsonl']
    samples = {name: content for name, content in contents(whole).items() if name.endswith('.png')}
    assert samples.items() <= contents(tmp_path / 'joined').items()
    # as one that was made there, it goes on
    fill(SyntheticStore.prepare(joined.root, **PURPOSE), [3, 77])
    assert len(SyntheticStore(joined.root)) == 15
    with pytest.raises(UserError, match='holds samples'):
        join(joined.root, shares)


def test_a_killed_join_is_done_again(tmp_path, monkeypatch):
    shares = [made(tmp_path / 'a', [(0, range(4))]), made(tmp_path / 'b', [(0, range(4, 9))])]
    link, links = os.link, []

    def stop_at_the_ninth(source, target):
        links.append(source)
        if len(links) == 9:
            raise KeyboardInterrupt
        link(source, target)

    monkeypatch.setattr(os, 'link', stop_at_the_ninth)
    with pytest.raises(KeyboardInterrupt):
        join(tmp_path / 'joined', shares)
    assert not len(SyntheticStore(tmp_path / 'joined'))
    assert len(join(tmp_path / 'joined', shares)) == 9
    assert len(list((tmp_path / 'joined').rglob('*.png'))) == 18


def test_damaged_samples_and_other_creations(tmp_path):
    a, b = made(tmp_path / 'a', [(0, range(3))]), made(tmp_path / 'b', [(0, [1, 5])])
    (a / SyntheticStore(a).records()[1].image).unlink()
    assert [record.source for record in join(tmp_path / 'joined', [a, b]).records()] == [0, 1, 2, 5]
    other = SyntheticStore.prepare(tmp_path / 'c', **{**PURPOSE, 'fingerprint': 'xyz'}).root
    with pytest.raises(StoreMismatch, match='made otherwise'):
        join(tmp_path / 'none', [a, other])


def test_a_store_of_an_earlier_version_becomes_one_of_today(tmp_path):
    first_version(tmp_path / 'old', 3)
    joined = join(tmp_path / 'new', [tmp_path / 'old'])
    (record,) = joined.records()
    image, annotation = read_one(joined, record)
    np.testing.assert_array_equal(image, make_sample(3)[0])
    np.testing.assert_array_equal(annotation, make_sample(3)[1]['segmentation'])
    assert record.image == f'images/r000_s00000/{record.id}.png' and record.crc32


def test_the_file_of_all_boxes(tmp_path):
    """Written when all shares are in one folder; names are those of the images there."""
    store = SyntheticStore.prepare(tmp_path / 's', ['instances'], ('a',), 'f', {})
    for source in (7, 130):
        box = Instances(np.array([[4.0, 4, 9, 9]]), np.array([0]), np.ones(1), np.zeros(1, bool), None)
        store.add(make_record(source), make_sample(source)[0], dict(instances=box))
    join(store.root, [])
    content = json.loads((store.root / 'instances.json').read_text())
    assert [(store.root / 'images' / image['file_name']).is_file() for image in content['images']] == [True] * 2
    assert len(content['annotations']) == 2 and content['categories'][0]['name'] == 'a'
