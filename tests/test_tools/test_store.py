"""tools/store.py: each subcommand as users call it, in this process."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from diff2in1_mm.store.shares import note_share
from diff2in1_mm.store.store import SyntheticStore

from ..test_store.samples import PURPOSE, fill, make_record, make_sample

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('store_tool', ROOT / 'tools' / 'store.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(tool, *words):
    """The exit status."""
    with pytest.raises(SystemExit) as ended:
        tool.main([str(word) for word in words])
    return ended.value.code


@pytest.fixture
def store(tmp_path):
    store = SyntheticStore.prepare(tmp_path / 's', **PURPOSE)
    fill(store, [1, 2], round=0)
    fill(store, [1], round=1)
    return store


def test_stats(tool, store, capsys):
    assert call(tool, 'stats', store.root, '--json') == 0
    found = json.loads(capsys.readouterr().out)
    assert found['samples'] == 3 and found['rounds'] == {'0': 2, '1': 1} and found['T'] == {'400': 3}
    files = [*store.root.glob('images/**/*.png'), *store.root.glob('annotations/**/*.png')]
    assert found['bytes'] == sum(path.stat().st_size for path in files)
    assert found['quality'] == {'confidence': pytest.approx(0.9)} and found['classes'] == {}
    assert call(tool, 'stats', store.root) == 0
    assert '3 samples, 0 damaged' in capsys.readouterr().out
    assert call(tool, 'stats', store.root / 'gone') == 2
    assert 'is not a synthetic store' in capsys.readouterr().err


def test_pictures_that_were_not_made_have_no_strength(tool, store, capsys):
    store.add(make_record(3, copy=99, T=0), *make_sample(3))
    assert call(tool, 'stats', store.root, '--json') == 0
    found = json.loads(capsys.readouterr().out)
    assert found['samples'] == 4 and found['unlabelled'] == 1 and found['T'] == {'400': 3}
    assert call(tool, 'stats', store.root) == 0
    assert '4 samples (1 of them unlabelled pictures as they were), 0 damaged' in capsys.readouterr().out


def test_verify_names_what_is_damaged(tool, store, capsys):
    assert call(tool, 'verify', store.root) == 0
    path = Path(store.image_path(store.records()[0]))
    path.write_bytes(bytes(path.stat().st_size))  # its size is right
    assert call(tool, 'verify', store.root) == 1
    said = capsys.readouterr().out
    assert store.records()[0].id in said and '3 samples read, 1 damaged' in said


def test_export_correct_and_import(tool, store, tmp_path, capsys):
    out = tmp_path / 'out'
    assert call(tool, 'export', store.root, '--to', 'masks', '--out', out, '--round', 0) == 0
    assert '2 samples as masks' in capsys.readouterr().out
    masks = sorted((out / 'masks').iterdir())
    cv2.imwrite(str(masks[0]), np.full((12, 16), 2, np.uint8))
    assert call(tool, 'import', store.root, out, '--from', 'masks', '--by', 'ada') == 0
    assert '1 labels taken, 1 say what was there' in capsys.readouterr().out
    changed = [record for record in SyntheticStore(store.root).accepted() if record.by_hand]
    assert [record.id for record in changed] == [masks[0].stem]
    assert call(tool, 'import', store.root, tmp_path / 'gone', '--from', 'coco') == 2


def test_a_round_that_is_not_there(tool, store, tmp_path, capsys):
    assert call(tool, 'export', store.root, '--to', 'masks', '--out', tmp_path / 'out', '--round', 99) == 2
    said = capsys.readouterr().err
    assert f'{store.root} has no samples of --round 99: give one of 0, 1, or leave it out' in said


def test_help_is_for_users(tool, capsys):
    assert call(tool, '--help') == 0
    said = capsys.readouterr().out
    assert 'what they hold' in said and 'function' not in said


def test_formats_are_those_of_the_package(tool):
    from diff2in1_mm.formats import FORMATS, READERS

    assert (tool.FORMATS, tool.READERS) == (list(FORMATS), list(READERS))


def test_join(tool, store, tmp_path, capsys):
    assert call(tool, 'join', tmp_path / 'joined', store.root) == 0
    assert '3 samples' in capsys.readouterr().out
    assert call(tool, 'join', tmp_path / 'joined', store.root) == 2
    assert 'give a new folder' in capsys.readouterr().err


def test_a_missing_share_is_told(tool, store, tmp_path, capsys):
    note_share(store.root, 0, 2, done=True)
    assert call(tool, 'join', tmp_path / 'joined', store.root) == 2
    assert 'share 1 of 2 is missing' in capsys.readouterr().err
    assert call(tool, 'join', '--incomplete', tmp_path / 'joined', store.root) == 0
    assert '3 samples' in capsys.readouterr().out


def test_pack_and_unpack(tool, store, tmp_path, capsys):
    assert call(tool, 'pack', store.root, tmp_path / 'tars', '--per-file', 2) == 0
    assert call(tool, 'unpack', tmp_path / 'tars', tmp_path / 'again') == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [f'{tmp_path}/tars: 3 samples', f'{tmp_path}/again: 3 samples']
    assert call(tool, 'verify', tmp_path / 'again') == 0
    assert call(tool, 'pack', store.root, tmp_path / 'other', '--per-file', 0) == 2
    assert 'per_file = 0 must be a whole number' in capsys.readouterr().err
