"""What the checks warn of."""

import pytest

from diff2in1_mm.preflight import findings


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(findings, 'print_log', lambda sentence, *args, **kwargs: said.append(sentence))
    return said
