import pytest

from diff2in1_mm.store.store import SyntheticStore

from .samples import PURPOSE


@pytest.fixture
def store(tmp_path):
    return SyntheticStore.prepare(tmp_path / 'store', **PURPOSE)
