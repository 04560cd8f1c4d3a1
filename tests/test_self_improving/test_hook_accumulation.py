"""theta_C follows steps of the optimizer, not iterations."""

import copy
import io

import pytest
import torch
from mmengine.registry import MODELS

from diff2in1_mm.utils.errors import UserError

from ..tiny_runs import config, train


def moves(monkeypatch):
    from diff2in1_mm.self_improving import hook

    moved, update = [], hook.ThetaC.update

    def watched(self, model, momentum):
        from mmengine.logging import MessageHub

        moved.append(MessageHub.get_current_instance().get_info('iter') + 1)
        update(self, model, momentum)

    monkeypatch.setattr(hook.ThetaC, 'update', watched)
    return moved


@pytest.mark.parametrize(
    'counts, interval, expected',
    [
        (1, 1, [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
        (1, 3, [7, 10, 13]),
        (4, 1, [8, 12, 14]),  # the last iteration always steps
        (3, 1, [6, 9, 12, 14]),  # the warm-up ends inside an accumulation
        (3, 2, [9, 14]),
    ],
)
def test_theta_c_moves_once_a_step(images, tmp_path, tiny_create, monkeypatch, counts, interval, expected):
    moved = moves(monkeypatch)
    cfg = config(images, tmp_path, iters=14, hook=dict(interval=interval))
    cfg.optim_wrapper.accumulative_counts = counts
    train(cfg)
    assert moved == expected


@pytest.mark.parametrize('compile', [True, dict(backend='eager')])
def test_a_compiled_step_is_refused(images, tmp_path, tiny_create, compile):
    with pytest.raises(UserError, match='would then label with theta_E: remove `compile`'):
        train(config(images, tmp_path, hook={}, compile=compile))


def test_a_model_is_saved_and_copied_after_training(images, tmp_path, tiny_create):
    model = train(config(images, tmp_path, hook={})).model
    torch.save(model, io.BytesIO())  # nothing in it that pickle refuses
    same = copy.deepcopy(model).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in model.state_dict().items())


def test_a_backbone_is_saved_whole(pipeline_folder):
    backbone = MODELS.build(dict(type='DiffusionBackbone', diffusion=pipeline_folder)).eval()
    image = torch.zeros(1, 3, 32, 32)
    expected = backbone(image)
    torch.save(backbone, io.BytesIO())
    assert all(map(torch.equal, copy.deepcopy(backbone)(image), expected))
