"""What tests of mutated files share: how many are generated, and a place in which no file may change."""

import contextlib
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import settings, strategies as st

from diff2in1_mm.preflight import findings


def generated(count):
    return settings(max_examples=count, derandomize=True, deadline=None)


@contextlib.contextmanager
def place():
    """A folder of which no file may change inside, and a list of what is warned of."""
    said: list[str] = []
    patch = mock.patch.object(findings, 'print_log', lambda sentence, *args, **kwargs: said.append(sentence))
    with tempfile.TemporaryDirectory() as name, patch:
        yield Path(name), said


@contextlib.contextmanager
def untouched(root):
    before = {path: path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}
    yield
    assert {path: path.read_bytes() for path in before} == before


def flipped(content: bytes, cuts: list) -> bytes:
    """Bytes exchanged at shares of the length; a last one beyond the end cuts the rest off."""
    changed = bytearray(content)
    for share, value in cuts:
        if share >= 1:
            del changed[int(len(changed) * (share - 1)) :]
        elif changed:
            changed[int(share * len(changed))] = value
    return bytes(changed)


#: Bytes exchanged, for :func:`flipped`.
CUTS = st.lists(st.tuples(st.floats(0, 1.99), st.integers(0, 255)), min_size=1, max_size=3)
