"""theta_C labels inside theta_E's step and leaves no trace in it."""

import copy

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from diff2in1_mm.self_improving.pseudo_labels import BatchPass, ViewSettings
from diff2in1_mm.self_improving.theta_c import ThetaC
from diff2in1_mm.tasks import labeller_for

from ..tiny_runs import config


def build(backbone='TinyBackbone', dropout=0.1):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    cfg = config('images', 'work').model
    cfg.backbone.type = backbone
    cfg.decode_head.dropout_ratio = dropout
    return MODELS.build(cfg).train()


def batch(n=4, synthetic=(1, 3)):
    generator = torch.Generator().manual_seed(1)
    samples = []
    for i in range(n):
        sample = SegDataSample(
            metainfo=dict(
                img_shape=(24, 32),
                pad_shape=(32, 32),
                ori_shape=(48, 64),
                flip=True,
                flip_direction='horizontal',
                padding_size=(0, 0, 0, 8),
                synthetic=i in synthetic,
                sample_id=f's{i}' if i in synthetic else '',
            )
        )
        sample.gt_sem_seg = PixelData(data=torch.randint(3, (1, 32, 32), generator=generator))
        samples.append(sample)
    return torch.rand(n, 3, 32, 32, generator=generator) * 2 - 1, samples


def attach(model, **views):
    views = ViewSettings(**views)
    batch_pass = BatchPass(model, labeller_for(model), views, seed=0)
    batch_pass.theta_c = ThetaC(model)
    with torch.no_grad():  # theta_C and theta_E differ
        for tensor in batch_pass.theta_c.tensors.values():
            if tensor.is_floating_point() and tensor.numel() > 1:
                tensor.mul_(1.5)
    return batch_pass


def snapshot(model):
    return copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]


def loss_of(model, inputs, samples):
    losses = model(inputs=inputs, data_samples=samples, mode='loss')
    return model.parse_losses(losses)[0]


@pytest.mark.parametrize('backbone', ['TinyBackbone', 'FrozenBackbone'])
@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('measuring', [False, True])
def test_theta_e_is_untouched_by_labelling(backbone, mode, measuring):
    model = build(backbone)
    batch_pass = attach(model, target_mode=mode)
    batch_pass.measuring = measuring
    model.decode_head.eval()  # a user's own choice of modes
    inputs, samples = batch()
    before, random = snapshot(model), torch.get_rng_state()
    batch_pass._before(model, (), dict(inputs=inputs, data_samples=samples, mode='loss'))
    after = snapshot(model)
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert before[1] == after[1]
    assert torch.equal(random, torch.get_rng_state())
    batch_pass._after(model, (), None)


def test_training_mode_moves_theta_cs_statistics_only():
    model = build()
    batch_pass = attach(model, target_mode='train')
    name = 'decode_head.convs.0.bn.num_batches_tracked'
    inputs, samples = batch()
    loss_of(model, inputs, samples)
    assert batch_pass.theta_c.tensors[name] == 1 and model.state_dict()[name] == 1
    loss_of(model, inputs, samples)
    assert batch_pass.theta_c.tensors[name] == 2 and model.state_dict()[name] == 2


def test_training_mode_is_that_of_the_heads():
    """In the released code theta_C's aggregator is in eval mode, and only its decoder trains."""
    model = build()
    batch_pass = attach(model, target_mode='train')
    seen, logits = [], torch.zeros(2, 3, 32, 32)
    model.encode_decode = lambda inputs, metas: (
        seen.append((model.backbone.training, model.decode_head.training)) or logits
    )
    batch_pass._before(model, (), dict(zip(('inputs', 'data_samples'), batch()), mode='loss'))
    batch_pass._after(model, (), None)
    assert seen == [(False, True)] and model.backbone.training
    before = batch_pass.theta_c.tensors['backbone.layers.1.running_mean'].clone()
    del model.encode_decode
    loss_of(model, *batch())
    assert torch.equal(batch_pass.theta_c.tensors['backbone.layers.1.running_mean'], before)


@pytest.mark.parametrize('backbone', ['TinyBackbone', 'FrozenBackbone'])
def test_targets_are_theta_cs_prediction_in_batch_coordinates(backbone):
    model = build(backbone)
    batch_pass = attach(model)
    inputs, samples = batch()
    real = [samples[i].gt_sem_seg.data.clone() for i in (0, 2)]
    meta = dict(img_shape=(32, 32), pad_shape=(32, 32))
    with batch_pass.theta_c.applied(model), torch.no_grad():
        expected = model.eval().encode_decode(inputs[[1, 3]], [meta] * 2).argmax(1)
    model.train()
    loss_of(model, inputs, samples)
    for row, target in zip((1, 3), expected):
        written = samples[row].gt_sem_seg.data
        assert written.dtype == torch.int64 and written.shape == (1, 32, 32)
        assert torch.equal(written[0, :24], target[:24])
        assert (written[0, 24:] == 255).all()  # padding
    assert all(torch.equal(samples[i].gt_sem_seg.data, r) for i, r in zip((0, 2), real))


@pytest.mark.parametrize('backbone', ['TinyBackbone', 'FrozenBackbone'])
@pytest.mark.parametrize('amp', [False, True])
@pytest.mark.parametrize('measuring', [False, True])
def test_step_equals_a_supervised_step_on_those_targets(backbone, amp, measuring):
    def gradients(model, inputs, samples):
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            loss = loss_of(model, inputs, samples)
        loss.backward()
        return {n: p.grad for n, p in model.named_parameters()}

    model, plain = build(backbone, 0.0), build(backbone, 0.0)
    batch_pass = attach(model)
    batch_pass.measuring = measuring
    inputs, samples = batch()
    ours = gradients(model, inputs, samples)
    theirs = gradients(plain, inputs, samples)
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)
    states = model.state_dict(), plain.state_dict()
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    if measuring:
        assert set(batch_pass.figures) == {'ignored', 'agreement', 'loss_real', 'loss_synthetic'}


def test_features_are_made_once_and_forgotten_also_after_an_error(monkeypatch):
    model = build('FrozenBackbone')
    batch_pass = attach(model)
    batch_pass.measuring = True
    inputs, samples = batch()
    loss_of(model, inputs, samples)
    assert model.backbone.images_seen == 4 and model.backbone._served is None

    def broken(*args):
        raise ArithmeticError

    batch_pass.measuring = False
    monkeypatch.setattr(model.decode_head, 'loss', broken)
    with pytest.raises(ArithmeticError):
        loss_of(model, inputs, batch()[1])
    assert model.backbone._served is None


def test_only_the_loss_of_a_training_model_with_synthetic_samples_is_touched():
    model = build('FrozenBackbone')
    attach(model)
    inputs, samples = batch(synthetic=())
    targets = [s.gt_sem_seg.data.clone() for s in samples]
    loss_of(model, inputs, samples)
    assert all(torch.equal(s.gt_sem_seg.data, t) for s, t in zip(samples, targets))
    inputs, samples = batch()
    with torch.no_grad():
        model.eval()(inputs, samples, mode='predict')
        loss_of(model, inputs, samples)
    assert torch.equal(samples[1].gt_sem_seg.data, batch()[1][1].gt_sem_seg.data)


@pytest.mark.parametrize('view', ['feature_dropout', 'strong'])
def test_views_change_the_synthetic_rows_alone_and_depend_on_the_sample(view):
    def served(samples, inputs, iteration):
        model = build('FrozenBackbone')
        batch_pass = attach(model, student_view=view)
        batch_pass.iteration = iteration
        seen = {}
        plain = model.backbone.features(inputs)[0]
        model.backbone.register_forward_hook(
            lambda module, args, maps: seen.update(images=args[0], maps=maps[0]) if model.training else None
        )
        loss_of(model, inputs, samples)
        return seen['images'], seen['maps'], plain

    inputs, samples = batch()
    images, maps, plain = served(samples, inputs, 5)
    assert torch.equal(maps[[0, 2]], plain[[0, 2]]) and torch.equal(images[[0, 2]], inputs[[0, 2]])
    assert not torch.allclose(maps[[1, 3]], plain[[1, 3]])
    assert torch.equal(images, inputs) == (view == 'feature_dropout')
    order = [3, 2, 1, 0]
    again = served([batch()[1][i] for i in order], inputs[order], 5)[1]
    torch.testing.assert_close(again, maps[order])
    assert not torch.allclose(served(batch()[1], inputs, 6)[1][1], maps[1])
