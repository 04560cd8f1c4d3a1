"""Mutations of a faultless store's files: each sample is whole, or the file that is not is named."""

import contextlib
import json
from unittest import mock

import pytest
from hypothesis import given, strategies as st

from diff2in1_mm.store import store as store_module
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.errors import UserError

from ..malformed import CUTS, flipped, generated, place, untouched
from ..test_datasets.folders import add_samples, open_store


@generated(25)
@given(
    name=st.sampled_from(['store.json', 'records', 'images', 'annotations']),
    number=st.integers(0, 2),
    field=st.integers(0, 12),
    value=st.one_of(st.none(), st.integers(-2, 3), st.text(max_size=3), st.lists(st.integers(), max_size=2)),
    cuts=st.none() | CUTS,
)
def test_samples_of_a_store_are_whole_or_named(name, number, field, value, cuts):
    with place() as (root, _), mock.patch.object(store_module, 'print_log') as told:
        add_samples(open_store(root / 's'), range(3))
        path = root / 's' / name
        files = [path] if path.is_file() else sorted(p for p in path.rglob('*') if p.is_file())
        path = files[number % len(files)]
        before = path.read_bytes()
        if cuts is not None or path.suffix == '.png':
            path.write_bytes(flipped(before, cuts or [(1.5, 0)]))
        else:
            texts = before.splitlines() if path.suffix == '.jsonl' else [before]
            content = json.loads(texts[number % len(texts)])
            content[sorted(content)[field % len(content)]] = value
            texts[number % len(texts)] = json.dumps(content).encode()
            path.write_bytes(b'\n'.join(texts) + b'\n')
        with untouched(root):
            try:
                store = SyntheticStore(root / 's')
                records = store.records(0)
            except UserError as error:
                assert str(root / 's') in str(error)
                return
            assert bool(store.damaged) == told.called and len(records) + len(store.damaged) <= 3
            for record in records:
                with contextlib.suppress(UserError):
                    store.read(record)
        # of a cut file of records the last line is that of a writer at work
        assert len(path.read_bytes()) == len(before) or 'json' in path.suffix or store.damaged


@pytest.mark.parametrize('outside', ['../mine.png', 'images/../../mine.png', '/etc/mine.png'])
def test_a_record_that_names_files_outside_the_store_is_damaged_and_removes_none(tmp_path, outside):
    store = open_store(tmp_path / 's')
    add_samples(store, range(2))
    mine = tmp_path / 'mine.png'
    mine.write_bytes((store.root / store.records()[0].image).read_bytes())
    (records,) = (store.root / 'records').glob('*.jsonl')
    outside = str(mine) if outside.startswith('/') else outside
    records.write_text(records.read_text().replace(store.records()[0].image, outside))
    (store.root / 'index.sqlite').unlink(missing_ok=True)
    with mock.patch.object(store_module, 'print_log') as told:
        stranger = SyntheticStore(store.root)
        assert [record.source for record in stranger.records()] == [1] and len(stranger.damaged) == 1
        assert f'a file outside the store, {outside!r}' in told.call_args[0][0]
        stranger.prune(keep_round=1)
    assert mine.exists()
