"""A share of a job array that is missing or was not finished is noticed."""

import pytest

from diff2in1_mm.store.joining import join
from diff2in1_mm.store.shares import forget_shares, missing_shares, note_share, shares_of
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.errors import UserError

from .samples import PURPOSE, fill


@pytest.fixture
def share(tmp_path):
    """Makes a share with three samples in a folder of its own, or in one that is named."""

    def make(number, of=4, done=True, folder=None):
        store = SyntheticStore.prepare(tmp_path / (folder or f'part{number}'), **PURPOSE)
        note_share(store.root, number, of, done=False)
        fill(store, range(3 * number, 3 * number + 3))
        if done:
            note_share(store.root, number, of, done=True)
        return store.root

    return make


@pytest.mark.parametrize(
    'there, words',
    [
        ((0, 1, 3), r'share 2 of 4 is missing or not finished .* run tools/create_data.py with --shard 2/4 again'),
        ((2,), r'shares 0, 1, 3 of 4 are missing or not finished .* with --shard 0/4 again; with --incomplete what'),
    ],
)
def test_the_missing_share_is_named(share, tmp_path, there, words):
    parts = [share(number) for number in there]
    with pytest.raises(UserError, match=words):
        join(tmp_path / 'joined', parts)
    assert not (tmp_path / 'joined').exists()
    assert len(join(tmp_path / 'joined', parts, incomplete=True)) == 3 * len(there)


def test_a_share_that_was_killed_is_missing(share, tmp_path):
    parts = [share(number, of=2, done=number == 0) for number in range(2)]
    with pytest.raises(UserError, match='share 1 of 2 is missing or not finished'):
        join(tmp_path / 'joined', parts)
    note_share(parts[1], 1, 2, done=True)
    joined = join(tmp_path / 'joined', parts)
    assert len(joined) == 6 and not shares_of(joined.root)  # nothing of how it was shared out


def test_shares_in_one_folder(share, tmp_path):
    root = share(0, of=2, folder='all')
    with pytest.raises(UserError, match='share 1 of 2 is missing'):
        join(root, [])
    share(1, of=2, folder='all')
    assert len(join(root, [])) == 6


def test_what_was_joined_in_part_goes_on(share, tmp_path):
    some = join(tmp_path / 'some', [share(0), share(3)], incomplete=True).root
    with pytest.raises(UserError, match='share 2 of 4 is missing'):
        join(tmp_path / 'whole', [some, share(1)])
    assert len(join(tmp_path / 'whole', [some, share(1), share(2)])) == 12


def test_arrays_of_two_sizes_are_whole_when_one_is(share, tmp_path):
    parts = [share(0), share(0, of=2, folder='half'), share(1, of=2)]
    assert missing_shares(parts) == ([], 2) and missing_shares(parts[:2]) == ([1], 2)
    assert len(join(tmp_path / 'joined', parts)) == 6


def test_stores_that_were_not_shared_out_lack_nothing(tmp_path):
    store = SyntheticStore.prepare(tmp_path / 's', **PURPOSE)
    assert missing_shares([store.root, tmp_path / 'none']) == ([], 0)


def test_damaged_and_foreign_notes(share, tmp_path):
    root = share(0, of=1)
    (root / 'shares/0-of-1.json').write_text('{')
    (root / 'shares/notes-of-mine.json').write_text('[]')
    assert shares_of(root) == {(0, 1): False} and missing_shares([root]) == ([0], 1)
    forget_shares(root)
    assert not shares_of(root)


def test_notes_go_with_what_the_store_was_made_for(tmp_path):
    root = SyntheticStore.prepare(tmp_path / 's', **PURPOSE).root
    note_share(root, 0, 2, done=True)
    SyntheticStore.prepare(root, **PURPOSE)
    assert shares_of(root)
    SyntheticStore.prepare(root, **{**PURPOSE, 'fingerprint': 'another'})
    assert not shares_of(root)
