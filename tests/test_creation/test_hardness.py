"""Source images by how hard they are for the model that labels."""

import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from diff2in1_mm.creation import hardness
from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.hardness import check_hardness
from diff2in1_mm.creation.plan import source_entry
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.store.store import SyntheticStore

from .test_label_filter import scores_of

OPTIONS = dict(steps=1, T=100, sources='by_hardness', copies_per_source=2, limit=3, batch_size=6)


def test_it_is_the_mean_loss_on_the_images_own_label_map(tmp_path, model, dataset, monkeypatch):
    create(model, dataset, tmp_path / 's', **OPTIONS)
    own = {}
    for i in range(3):
        results = source_entry(dataset, i)
        for transform in dataset.pipeline.transforms[:2]:
            results = transform(results)
        target = torch.from_numpy(results['gt_seg_map'].astype('int64'))[None]
        own[i] = F.cross_entropy(scores_of(model, results['img'][..., ::-1]), target).item()
    store = SyntheticStore(tmp_path / 's')
    records = store.records()
    assert store.settings['sources'] == 'by_hardness' and len(records) == 6
    for record in records:
        assert record.quality['hardness'] == pytest.approx(own[record.source], rel=1e-4)
    easiest, middle, hardest = sorted(own, key=own.get)
    counts = [sum(record.source == source for record in records) for source in (easiest, middle, hardest)]
    assert counts == [1, 2, 3]
    assert json.loads((tmp_path / 's/hardness.json').read_text())['0'].keys() == {'0', '1', '2'}
    # a continued creation plans the same, whatever it would measure now
    monkeypatch.setattr(hardness, 'source_losses', None)
    assert create(model, dataset, tmp_path / 's', **OPTIONS).present == 6
    for damaged in ('{"0": [1, 2]}', '{"0": {"1": "much"}}', '{"0": {"first": 1.0}}', '{'):
        (tmp_path / 's/hardness.json').write_text(damaged)
        with pytest.raises(OSError, match='hardness.json is damaged: remove it, and hardness is measured anew'):
            create(model, dataset, tmp_path / 's', **OPTIONS)


def test_labels_without_classes_are_refused():
    labels = SimpleNamespace(tasks=('depth',), model=torch.nn.Identity(), labeller=SimpleNamespace(task='depth'))
    with pytest.raises(ValueError, match="Identity learns depth: set it to 'uniform'"):
        check_hardness(CreationSettings(sources='by_hardness'), labels)
