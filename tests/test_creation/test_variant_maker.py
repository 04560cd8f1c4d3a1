"""What the demo tells of the time; its pictures are tested in tests/test_demo."""

from types import SimpleNamespace

import numpy as np

from diff2in1_mm.creation import variant_maker
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.creation.variant_maker import VariantMaker


def test_time_of_all_variants_follows_from_two_short_runs(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(variant_maker.time, 'perf_counter', lambda: clock[0])
    maker = VariantMaker(CreationSettings(T=[50, 100, 600], steps=10, copies_per_source=2), seed=0)
    maker.predictor = SimpleNamespace(present=lambda prediction: [])
    monkeypatch.setattr(maker, '_source_image', lambda path, prediction: np.zeros((4, 4, 3), np.uint8))

    def generate(generator, image, source, T, seeds):
        clock[0] += 3 + 0.5 * generator.steps_for(T) * len(seeds)  # autoencoder, then passes

    monkeypatch.setattr(maker, '_generate', generate)
    assert maker.seconds('x.png', None) == 2 * (3 * 3 + 0.5 * 30)
