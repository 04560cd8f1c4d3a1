"""The table of classes: bars as long as what they say, and words on every axis."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from diff2in1_mm.visualization.class_table import class_table


@pytest.fixture
def drawn(monkeypatch):
    """Lengths of the bars and words of the axes, as they are drawn."""
    found = dict(bars=[], words=[])
    barh, put = Axes.barh, Axes.set

    def bars(self, places, values, *args, **kwargs):
        found['bars'].append([float(value) for value in values])
        return barh(self, places, values, *args, **kwargs)

    def words(self, **options):
        found['words'] += [options[name] for name in ('xlabel', 'ylabel') if name in options]
        return put(self, **options)

    monkeypatch.setattr(Axes, 'barh', bars)
    monkeypatch.setattr(Axes, 'set', words)
    return found


def test_shares_in_per_cent_beside_those_of_the_sources_and_agreement(drawn):
    picture = class_table(dict(sky=0.25, road=0.75), dict(road=0.5, tree=0.5), dict(road=0.6, sky=0.0))
    assert drawn['bars'][:2] == [[75, 25, 0], [50, 0, 50]]  # road, sky, tree
    assert drawn['bars'][2][:2] == [60, 0] and np.isnan(drawn['bars'][2][2])
    assert drawn['words'] == ['% of the pixels', 'class', "IoU of the samples' labels and their sources' (%)"]
    assert picture.dtype == np.uint8 and picture.ndim == 3 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 5


def test_objects_are_counted_and_unknown_sources_left_out(drawn):
    class_table(dict(car=2.5), {}, {}, 'objects in an image')
    assert drawn == dict(bars=[[2.5]], words=['objects in an image', 'class'])


def test_of_many_classes_the_most_frequent(drawn):
    picture = class_table({f'${number}': number / 100 for number in range(100)}, {}, {})
    (bars,) = drawn['bars']
    assert len(bars) == 60 and bars[0] == 99 and len(picture) < 2000
