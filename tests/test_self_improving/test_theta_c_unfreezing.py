"""Hooks that unfreeze a module on the way, in the warm-up or after it."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS

from diff2in1_mm.utils.compat import load_weights_only

from ..tiny_runs import TinyBackbone, config, train

NAME = 'backbone.layers.0.weight'


@HOOKS.register_module(force=True)
class Unfreeze(Hook):
    """Acts in the iteration, as most do; after ``SelfImprovingHook``, which cannot know of it."""

    priority = 'LOWEST'

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.model.backbone.requires_grad_(runner.iter >= self.at)


@MODELS.register_module(force=True)
class FrozenAtFirst(TinyBackbone):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)


def run(images, work_dir, iters, at, resume=False, backbone='TinyBackbone', **hook):
    cfg = config(
        images,
        work_dir,
        iters=iters,
        resume=resume,
        backbone=backbone,
        log_level='INFO',
        hook=dict(dict(warm_up=4, momentum=0.3), **hook),
    )
    cfg.model.decode_head.dropout_ratio = 0  # torch's own, from the global generator
    cfg.custom_hooks.append(dict(type='Unfreeze', at=at))
    return train(cfg)


def load(path):
    return load_weights_only(path)


@pytest.mark.usefixtures('tiny_create')
class TestUnfreezing:
    @pytest.mark.parametrize('hook', [{}, dict(creation=None)])
    def test_theta_c_follows_what_is_unfrozen_after_the_warm_up(self, images, tmp_path, hook):
        run(images, tmp_path, 8, 6, **hook)
        before, after = load(tmp_path / 'iter_6.pth'), load(tmp_path / 'iter_8.pth')
        assert NAME not in before['theta_E']
        start, own = before['state_dict'][NAME], after['theta_E'][NAME]
        averaged = after['state_dict'][NAME]
        assert not torch.equal(averaged, own)
        # two steps: no further than they can bring it from where it was before the first of them
        assert 0 < (averaged - start).abs().max() <= (0.3 * 0.02 + 0.7 * 0.3 * 0.01) * 1.01
        log = next(tmp_path.glob('*/*.log')).read_text()
        assert 'theta_C follows backbone.layers.0.weight' in log

    @pytest.mark.parametrize(
        'backbone, unfrozen, at',
        [('FrozenAtFirst', 2, 4), ('FrozenAtFirst', 2, 6), ('TinyBackbone', 6, 4), ('TinyBackbone', 6, 8)],
    )
    def test_a_resumed_run_equals_an_uninterrupted_one(self, images, tmp_path, backbone, unfrozen, at):
        """Bit for bit, although the model is as it was built where the run resumes."""
        run(images, tmp_path / 'whole', 10, unfrozen, backbone=backbone)
        run(images, tmp_path / 'parts', at + 1, unfrozen, backbone=backbone)
        (tmp_path / 'parts' / 'last_checkpoint').write_text(str(tmp_path / 'parts' / f'iter_{at}.pth'))
        run(images, tmp_path / 'parts', 10, unfrozen, resume=True, backbone=backbone)
        whole, parts = (load(tmp_path / name / 'iter_10.pth') for name in ('whole', 'parts'))
        for key in ('state_dict', 'theta_E'):
            assert set(whole[key]) == set(parts[key])
            assert all(torch.equal(whole[key][name], parts[key][name]) for name in whole[key])
