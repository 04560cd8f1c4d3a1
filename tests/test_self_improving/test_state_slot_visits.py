"""A resumed run goes on with the samples that the unbroken one would have drawn."""

import pytest
import torch

from diff2in1_mm.datasets.synthetic_mix import SyntheticMixDataset
from diff2in1_mm.self_improving.state import SlotVisits
from diff2in1_mm.utils.compat import load_weights_only

from ..tiny_runs import config, train

pytestmark = pytest.mark.usefixtures('tiny_create')
DRAWN = []


@pytest.fixture
def drawn(monkeypatch):
    """Identities of the synthetic samples, as they are drawn."""

    def noted(self, first, samples):
        DRAWN.append(samples[first % len(samples)].id)
        return own(self, first, samples)

    DRAWN.clear()
    own = SyntheticMixDataset._synthetic
    monkeypatch.setattr(SyntheticMixDataset, '_synthetic', noted)
    return DRAWN


def run(images, folder, by_epoch, resume=None):
    """8 real samples and 4 slots, 8 samples in the store; 12 iterations or 5 epochs of 3."""
    cfg = config(
        images,
        folder,
        iters=12,
        backbone='FrozenBackbone',
        resume=resume is not None,
        hook=dict(warm_up=1 if by_epoch else 4),
    )
    cfg.train_dataloader.dataset.ratio = 0.5
    cfg.model.decode_head.dropout_ratio = 0  # torch's own, from the global generator
    if by_epoch:
        cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=5)
        cfg.train_dataloader.sampler.type = 'DefaultSampler'
        cfg.default_hooks.checkpoint = dict(type='AtomicCheckpointHook', interval=1)
        cfg.log_processor.by_epoch = True
    if resume:
        (folder / 'last_checkpoint').write_text(str(folder / resume))
    train(cfg)


@pytest.mark.parametrize(
    'by_epoch, at, last', [(False, 'iter_8.pth', 'iter_12.pth'), (True, 'epoch_3.pth', 'epoch_5.pth')]
)
def test_resumed_run_draws_the_same_samples(images, tmp_path, drawn, by_epoch, at, last):
    run(images, tmp_path, by_epoch)
    whole, whole_end = list(drawn), load_weights_only(tmp_path / last)
    assert len(set(whole)) == 8  # more than the slots: they took turns
    drawn.clear()
    run(images, tmp_path, by_epoch, resume=at)
    again, again_end = list(drawn), load_weights_only(tmp_path / last)
    rest = 4 * 2 if by_epoch else 8
    assert again[-rest:] == whole[-rest:] and len(set(again[-rest:])) > 4
    for name, value in whole_end['theta_E'].items():
        # flips come from NumPy's generator, which MMEngine does not bring back between epochs
        assert by_epoch or torch.equal(value, again_end['theta_E'][name]), name


def test_batches_that_workers_drew_before_the_round_stay_real(images, tmp_path):
    def run(resume=False):
        cfg = config(images, tmp_path, iters=8, backbone='FrozenBackbone', workers=2, hook={}, resume=resume)
        cfg.model.decode_head.dropout_ratio = 0
        cfg.train_dataloader.dataset.dataset.pipeline.pop(2)  # flips, from the workers' generators
        train(cfg)
        return load_weights_only(tmp_path / 'iter_8.pth')['theta_E']

    whole = run()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_6.pth'))
    resumed = run(resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


class Slots:
    """The part of a data set that is asked."""

    def __init__(self, count):
        self.visits = torch.zeros(count, dtype=torch.int32)
        self.since = torch.zeros(count, dtype=torch.int32)

    def serve(self, round, since):
        self.served = round, since


def test_other_numbers_begin_anew():
    counts, dataset = SlotVisits(), Slots(3)
    dataset.since += 2
    dataset.visits += 3  # a worker has gone on
    counts.round_began(dataset)
    saved = counts.to_dict()
    resumed = Slots(3)
    SlotVisits().serve(resumed, 1, saved)
    assert resumed.served[0] == 1 and resumed.served[1].tolist() == [2, 2, 2]
    for dataset, given in ((Slots(4), saved), (Slots(3), None), (Slots(3), dict(saved, since=saved['since'] * 2))):
        SlotVisits().serve(dataset, 1, given)
        assert dataset.served == (1, None)
