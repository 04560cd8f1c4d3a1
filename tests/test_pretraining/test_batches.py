"""Random numbers of a training step."""

import torch

from diff2in1_mm.pretraining.batches import spread_levels


def test_levels_cover_the_schedule_evenly():
    levels = spread_levels(10, 1000, torch.Generator().manual_seed(0))
    assert [int(t) // 100 for t in levels] == list(range(10))
