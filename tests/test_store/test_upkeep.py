"""What a store holds."""

from types import SimpleNamespace

import pytest

from diff2in1_mm.store.upkeep import class_shares


def test_shares_are_means_over_the_samples_that_noted_classes():
    records = [SimpleNamespace(classes=shown) for shown in (dict(sky=0.75, tree=0.25), dict(sky=0.25), {})]
    assert class_shares(records) == dict(sky=pytest.approx(0.5), tree=pytest.approx(0.125))
    assert list(class_shares(records)) == ['sky', 'tree'] and class_shares([]) == {}
