"""Errors of writes beside the model are not lost."""

import pytest

from diff2in1_mm.creation.background import BackgroundWriter


def test_the_error_of_the_last_background_write_is_raised():
    with pytest.raises(OSError, match='last'), BackgroundWriter(threads=1) as writer:
        writer.submit(int)
        writer.submit(lambda: (_ for _ in ()).throw(OSError('last')))


def test_the_first_error_counts_and_a_failed_write_beside_it_is_logged(logged):
    with pytest.raises(ValueError, match='first'), BackgroundWriter(threads=1) as writer:
        writer.submit(lambda: (_ for _ in ()).throw(OSError('the write')))
        raise ValueError('first')
    assert any('a write failed: the write' in message for message in logged)
