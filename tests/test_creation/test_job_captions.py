"""Captions of samples in their records."""

from mmengine.registry import MODELS

from diff2in1_mm.creation.create import create
from diff2in1_mm.diffusion.conditions.source import Source
from diff2in1_mm.store.store import SyntheticStore


def test_each_sample_draws_its_own_style(tmp_path, model, dataset):
    condition = dict(
        type='Restyle',
        of=dict(type='Prompt', text='sunny road'),
        templates=['{caption}', '{caption}, oil'],
        swap=[['sunny', 'rainy', 'snowy']],
    )
    create(
        model, dataset, tmp_path / 's', T=50, steps=1, copies_per_source=6, limit=1, batch_size=6, condition=condition
    )
    store, built = SyntheticStore(tmp_path / 's'), MODELS.build(condition)
    captions = [record.caption for record in store.records()]
    assert captions == [built.text(Source(seed=record.seed)) for record in store.records()]
    assert len(set(captions)) > 2 and 'sunny' not in ' '.join(captions)
    assert store.settings['condition']['templates'] == condition['templates']
