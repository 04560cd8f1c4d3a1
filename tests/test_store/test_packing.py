"""A store as tar files on any file system, and back."""

import json
import tarfile

import fsspec
import pytest

from diff2in1_mm.store.packing import pack, unpack
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.store.upkeep import verify
from diff2in1_mm.utils.errors import UserError

from .samples import PURPOSE, fill
from .test_joining import contents
from .test_purpose import first_version


@pytest.fixture
def packed(store, tmp_path):
    fill(store, range(7))
    fill(store, [3, 120], 1)
    store.add_empty(SyntheticStore.sample_id(0, 50, 0), 0, 'c0')
    assert pack(store, str(tmp_path / 'packed'), per_file=4) == 9
    return tmp_path / 'packed'


def of_samples(root):
    """All but the division of records into files, and what is made anew of these."""
    found = contents(root)
    records = sorted(line for name, text in found.items() if name.startswith('records') for line in text.splitlines())
    return {
        name: text for name, text in found.items() if name.split('/')[0] in ('images', 'annotations', 'empty')
    }, records


def test_what_comes_back_is_the_store(store, packed, tmp_path):
    assert sorted(path.name for path in packed.iterdir()) == [
        'notes.tar', 'samples-000000.tar', 'samples-000001.tar', 'samples-000002.tar', 'store.json'
    ]  # fmt: skip
    again = unpack(str(packed), tmp_path / 'again')
    assert of_samples(again.root) == of_samples(store.root) and len(again) == 9
    assert not list(verify(again)) and list(again.notes()) == list(store.notes())
    fill(SyntheticStore.prepare(again.root, **PURPOSE), [77])  # as one that was made there, it goes on
    assert len(SyntheticStore(again.root)) == 10


def test_members_are_those_of_webdataset(store, packed):
    with tarfile.open(packed / 'samples-000000.tar') as tar:
        names = tar.getnames()
    record = store.records()[0]
    assert names[:3] == [f'{record.id}.image.png', f'{record.id}.segmentation.png', f'{record.id}.json']


def test_any_file_system_of_fsspec_will_do(store, tmp_path):
    fill(store, range(3))
    url = 'memory://bucket/rooms'
    pack(store, url)
    assert of_samples(unpack(url, tmp_path / 'again').root) == of_samples(store.root)
    with pytest.raises(UserError, match='holds a packed store'):
        pack(store, url)
    fsspec.filesystem('memory').rm('/bucket', recursive=True)


def test_a_killed_pack_is_none(store, tmp_path, monkeypatch):
    fill(store, range(3))
    monkeypatch.setattr('diff2in1_mm.store.packing._notes', lambda root: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pack(store, str(tmp_path / 'packed'))
    with pytest.raises(UserError, match='holds no packed store, or one that was not finished'):
        unpack(str(tmp_path / 'packed'), tmp_path / 'again')
    monkeypatch.undo()
    assert pack(store, str(tmp_path / 'packed')) == 3  # done again


def test_what_is_not_whole_or_changed_is_named(packed, tmp_path):
    shard, index = packed / 'samples-000001.tar', packed / 'store.json'
    whole, told = shard.read_bytes(), index.read_text()
    cases = [
        (shard, whole[: len(whole) // 2], r'samples-000001.tar cannot be read|holds . of 4 samples|not those that'),
        (shard, whole.replace(b'"copy": 0', b'"copy": x', 1), 'the record of .* cannot be read'),
        (shard, whole.replace(b'IDAT', b'IDAX', 1), 'are not those that its record names'),
        (index, told.replace('"version": 3', '"version": 9').encode(), 'is not of a packed store of version 3'),
        (index, json.dumps(dict(json.loads(told), files={'../x.tar': 1})).encode(), 'is not of a packed store'),
    ]
    for number, (path, content, words) in enumerate(cases):
        before = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(UserError, match=words):
            unpack(str(packed), tmp_path / f'again{number}')
        assert not len(SyntheticStore(tmp_path / f'again{number}')) if (tmp_path / f'again{number}').exists() else True
        path.write_bytes(before)


def test_bad_places_are_named(store, tmp_path):
    fill(store, range(2))
    with pytest.raises(UserError, match='cannot be reached'):
        pack(store, 'nowhere://bucket')
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='cannot be written'):
        pack(store, str(tmp_path / 'file'))
    with pytest.raises(UserError, match='write it as a new one first, with `join'):
        first_version(tmp_path / 'old', 3)
        pack(SyntheticStore(tmp_path / 'old'), str(tmp_path / 'packed'))
    pack(store, str(tmp_path / 'packed'))
    with pytest.raises(UserError, match='holds samples'):
        unpack(str(tmp_path / 'packed'), store.root)
