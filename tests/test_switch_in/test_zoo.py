import pytest

pytest.importorskip('mmseg')

from diff2in1_mm.switch_in.zoo import configs_of, groups_of  # noqa: E402
from diff2in1_mm.utils.errors import UserError  # noqa: E402


def test_every_family_is_drawn_from():
    all_names, drawn = configs_of('mmseg'), configs_of('mmseg', per_family=2, seed=3)
    assert len(all_names) > 600 and not any('_base_' in name for name in all_names)
    assert set(drawn) < set(all_names) and drawn == configs_of('mmseg', per_family=2, seed=3)
    folders = [name.partition('/')[0] for name in drawn]
    assert set(folders) == {name.partition('/')[0] for name in all_names}
    assert max(map(folders.count, folders)) == 2
    with pytest.raises(UserError, match='mmnothing is not installed.*install it'):
        configs_of('mmnothing')


def test_the_models_of_a_group_differ_in_depth_at_most():
    names = configs_of('mmseg', per_family=2)[:12]
    groups = groups_of([*names, 'mmseg::nothing/there.py'])
    assert sorted(name for group in groups for name in group) == sorted([*names, 'mmseg::nothing/there.py'])
    family = [group[0].split('/')[0] for group in groups]
    assert len(set(family[: len(set(family))])) == len(set(family))  # one of each before a second of any
