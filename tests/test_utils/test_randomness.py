import torch
from hypothesis import given, strategies as st

from diff2in1_mm.utils.randomness import channel_dropout, sample_noise, seeded_generators, stable_seed

PARTS = st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4)


@given(PARTS, PARTS)
def test_seeds_are_equal_only_for_equal_parts(a, b):
    assert 0 <= stable_seed(*a) < 2**63
    assert (stable_seed(*a) == stable_seed(*b)) == (a == b)


def test_seeds_are_the_same_on_every_machine():
    assert stable_seed(0, 'noise', 3) == 5321715615816703114


def test_a_row_of_noise_depends_on_its_own_generator():
    like = torch.zeros(3, 4, 5, 6)
    noise = sample_noise(seeded_generators(1, samples=[7, 8, 9]), like)
    assert torch.equal(noise[1:2], sample_noise(seeded_generators(1, samples=[8]), like[:1]))
    assert noise.std() > 0.8 and not torch.equal(noise[0], noise[1])


def test_channel_dropout_keeps_the_mean_and_skips_rows_without_a_generator():
    maps = [torch.ones(3, 400, 2, 2), torch.ones(3, 300, 1, 1)]
    generators = [None, *seeded_generators(0, samples=[1, 2])]
    first, second = channel_dropout(maps, 0.5, generators)
    assert torch.equal(first[0], maps[0][0])
    assert set(first[1].unique().tolist()) == {0.0, 2.0}
    assert abs(first[1:].mean() - 1) < 0.15 and second.shape == maps[1].shape
    assert (first[1].std(dim=(1, 2)) == 0).all()
