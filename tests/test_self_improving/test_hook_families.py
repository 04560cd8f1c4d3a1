"""Every family of diffusion models as backbone and generator of one run: training, creation, resume."""

import pytest
from mmengine.runner import Runner

from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.compat import load_weights_only

from ..family_models import BUILDERS, save
from ..tiny_runs import config, train
from ..versions import before
from ..watched_runs import CountHook


@pytest.mark.parametrize('family', BUILDERS)
def test_a_family_trains_creates_and_resumes(images, tmp_path, family, counted):
    folder = save(family, tmp_path / 'model')

    def run(iters, resume=False):
        creation = dict(T=300, T_of='sd', steps=2, batch_size=8)
        if family in ('sd3', 'flux') and before('diffusers', '0.32'):
            creation['solver'] = 'euler'
        hook = dict(warm_up=2, creation=creation)
        cfg = config(images, tmp_path / 'run', iters=iters, hook=hook, resume=resume)
        cfg.model.backbone = dict(type='DiffusionBackbone', diffusion=folder, out_channels=[8], out_strides=[8])
        return cfg

    per_iteration = []
    runner = Runner.from_cfg(run(3))
    runner.register_hook(CountHook(counted, per_iteration))
    runner.train()
    # one encoding and one pass of the denoiser per image, in the warm-up and beside theta_C's labels
    assert per_iteration[:2] == [(4, 4)] * 2 and per_iteration[3:] == [(4, 4)] * (len(per_iteration) - 3)
    store = SyntheticStore(tmp_path / 'run' / 'store')
    assert len(store) == 8 and store.records()[0].T == 300
    resumed = train(run(4, resume=True))
    assert resumed.iter == 4 and len(SyntheticStore(tmp_path / 'run' / 'store')) == 8
    state = load_weights_only(tmp_path / 'run' / 'iter_4.pth')['state_dict']
    assert 'backbone.frozen_fingerprint' in state and not any('transformer' in n or 'unet' in n for n in state)
