"""What the checks warn of, and the small task of the tests of creation."""

import pytest

from diff2in1_mm.preflight import findings

from ..test_creation.conftest import dataset, model, root  # noqa: F401


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(findings, 'print_log', lambda sentence, *args, **kwargs: said.append(sentence))
    return said
