"""Tensors in files: found again, whole or absent, within their limit."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from diff2in1_mm.utils import kept_on_disk
from diff2in1_mm.utils.kept_on_disk import KeptOnDisk, cache_folder


def make_all(keys):
    return [dict(value=torch.full((1000,), float(int(key, 16)))) for key in keys]


def not_called(keys):
    raise AssertionError(f'{keys} are there')


def test_another_object_finds_what_was_made(tmp_path):
    keys = ['0a1', '0b2', '0a1']
    kept = KeptOnDisk(tmp_path, 1e6, 'numbers')
    first = kept.get(keys, make_all)
    assert [int(tensors['value'][0]) for tensors in first] == [int(key, 16) for key in keys]
    assert (kept.asked, kept.made) == (3, 2)
    again = KeptOnDisk(tmp_path, 1e6, 'numbers').get(keys, not_called)
    assert all(torch.equal(a['value'], b['value']) for a, b in zip(first, again))
    # only what is missing is made
    made = []
    KeptOnDisk(tmp_path, 1e6, 'numbers').get(['0a1', '0c3'], lambda missing: made.extend(missing) or make_all(missing))
    assert made == ['0c3']


@pytest.mark.parametrize('damage', [lambda content: content[:-100], lambda content: b'', lambda content: b'x' * 50])
def test_damaged_files_are_made_again(tmp_path, damage):
    kept = KeptOnDisk(tmp_path, 1e6, 'numbers')
    kept.get(['0a1'], make_all)
    kept.path('0a1').write_bytes(damage(kept.path('0a1').read_bytes()))
    assert kept.read('0a1') is None and not kept.path('0a1').exists()
    assert kept.get(['0a1'], make_all)[0]['value'][0] == 0xA1


def test_what_was_read_longest_ago_makes_room(tmp_path, logged):
    kept = KeptOnDisk(tmp_path, 13000, 'numbers')  # three of 4 kB
    for age, key in ((30, '0a1'), (20, '0b2'), (10, '0c3')):
        kept.get([key], make_all)
        os.utime(kept.path(key), (time.time() - age,) * 2)
    kept.read('0a1')
    (tmp_path / '0a' / ('.0a1.safetensors.' + 'f' * 32 + '.tmp')).write_bytes(b'half')
    os.utime(next(tmp_path.glob('0a/.*')), (0, 0))
    kept.get(['0d4'], make_all)
    assert [bool(kept.read(key)) for key in ('0a1', '0b2', '0c3', '0d4')] == [True, False, False, True]
    assert not list(tmp_path.glob('*/.*'))  # of a process that was killed
    assert [line for line in logged if 'which is its limit' in line and 'longest ago make room' in line]
    # one that never fits is made, and not kept
    assert KeptOnDisk(tmp_path / 'small', 100, 'numbers').get(['0a1'], make_all) and not list(
        tmp_path.glob('small/*/*')
    )


def test_without_room_it_goes_on(tmp_path, logged, monkeypatch):
    def full(path, content):
        raise kept_on_disk.UnusableFileError(f'no space left for {path}')

    monkeypatch.setattr(kept_on_disk, 'write_atomic', full)
    kept = KeptOnDisk(tmp_path, 1e6, 'numbers')
    assert len(kept.get(['0a1', '0b2'], make_all)) == 2
    assert len([line for line in logged if 'numbers are not kept any longer: no space left' in line]) == 1


def _fill(folder):
    kept = KeptOnDisk(folder, 1e9, 'numbers')
    for number in range(10**6):
        kept.get([f'{number:04x}'], make_all)


def test_twenty_kills_leave_nothing_wrong(tmp_path):
    context = multiprocessing.get_context('fork')
    for kill in range(20):
        writer = context.Process(target=_fill, args=(tmp_path / str(kill % 4),))
        writer.start()
        while not list(tmp_path.glob(f'{kill % 4}/*/*{kill:x}.safetensors')) and writer.is_alive():
            time.sleep(0.002)
        writer.kill()
        writer.join()
    files = list(tmp_path.glob('*/*/*.safetensors'))
    assert len(files) > 20
    for path in files:
        tensors = KeptOnDisk(path.parent.parent, 1e9, 'numbers').read(path.stem)
        assert tensors is not None and (tensors['value'] == int(path.stem, 16)).all()


def test_where_caches_are(monkeypatch):
    monkeypatch.delenv('DIFF2IN1_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', '/caches')
    assert cache_folder() == Path('/caches/diff2in1_mm')
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert cache_folder() == Path.home() / '.cache' / 'diff2in1_mm'
    monkeypatch.setenv('DIFF2IN1_CACHE', '/other')
    assert cache_folder() == Path('/other')
    monkeypatch.setenv('DIFF2IN1_CACHE', '')
    assert cache_folder() is None


def test_several_processes_share_one_limit(tmp_path):
    processes = [KeptOnDisk(tmp_path, 100e3, 'numbers') for _ in range(4)]
    for number in range(20):  # 20 x 4 x 4 kB
        for place, kept in enumerate(processes):
            kept.get([f'{number:02x}{place:x}'], make_all)
    held = sum(path.stat().st_size for path in tmp_path.rglob('*.safetensors'))
    assert 50e3 < held <= 1.1 * 100e3
