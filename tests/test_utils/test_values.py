import math

import pytest
import torch

from diff2in1_mm.utils.image_values import to_bytes, to_unit_range
from diff2in1_mm.utils.values import check_choice, check_whole, is_number, is_whole, spread_over


@pytest.mark.parametrize('value, whole, number', [(3, True, True), (0, False, False), (True, False, False)])
def test_bools_and_what_is_too_small_are_no_numbers(value, whole, number):
    assert (is_whole(value, 1), is_number(value, 1)) == (whole, number)


def test_numbers_are_finite_and_within_bounds():
    assert is_number(0.5, 0, 1) and not is_number(1.5, 0, 1) and not is_number('1')
    assert not any(map(is_number, (math.nan, math.inf, -math.inf, None)))


def test_an_option_out_of_range_is_named():
    check_whole('warm_up', 0, least=0)
    check_choice('solver', 'ddim', ('ddim', 'euler'))
    with pytest.raises(ValueError, match='copies = 2.0 must be a whole number of at least 1'):
        check_whole('copies', 2.0)
    with pytest.raises(ValueError, match=r"solver must be one of \('ddim', 'euler'\), not 'dpm'"):
        check_choice('solver', 'dpm', ('ddim', 'euler'))


def test_places_are_spread_with_first_and_last():
    assert spread_over(10, 4) == [0, 3, 6, 9]
    assert spread_over(3, 8) == [0, 1, 2]
    assert spread_over(1, 8) == [0] and spread_over(0, 8) == []


def test_every_byte_comes_back_and_the_rest_is_cut():
    values = torch.arange(256, dtype=torch.uint8)
    assert to_unit_range(values).aminmax() == (-1, 1)
    assert torch.equal(to_bytes(to_unit_range(values)), values)
    assert to_bytes(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
