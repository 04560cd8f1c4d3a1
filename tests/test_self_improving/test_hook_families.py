"""Every family of diffusion models as backbone and generator of one run: training, creation, resume, and the tools."""

import importlib.util
import json

import pytest
from mmengine.runner import Runner

from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.compat import load_weights_only
from diff2in1_mm.utils.resources import tool_path

from ..family_models import BUILDERS, save
from ..tiny_runs import CLASSES, config, train
from ..versions import before
from ..watched_runs import CountHook

_STEPS = 2
#: What a model of a family is built with, and what perception and generation tell it, where that is not nothing.
_OPTIONS = {
    **dict.fromkeys(BUILDERS, {}),
    'ddpm of classes': dict(family='ddpm', built=dict(num_class_embeds=len(CLASSES)), label=1),
    'ldm of classes': dict(family='ldm', built=dict(num_class_embeds=len(CLASSES)), label=2),
}


def call(name, *arguments):
    """A script of tools/ in this process."""
    spec = importlib.util.spec_from_file_location(name, tool_path(f'tools/{name}.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([*map(str, arguments)])


def configs(kind, images, place):
    """A function that makes the config of a run of so many iterations with a model of a kind."""
    options = _OPTIONS[kind]
    family = options.get('family', kind)
    folder = save(family, place / 'model', **options.get('built', {}))
    creation = dict(T=300, T_of='sd', steps=_STEPS, batch_size=8)
    backbone = dict(type='DiffusionBackbone', diffusion=folder, out_channels=[8], out_strides=[8])
    if 'label' in options:
        backbone['condition'] = dict(type='ClassLabel', label=options['label'])
        creation['condition'] = dict(type='ClassLabel', classes=list(CLASSES))
    if family in ('sd3', 'flux') and before('diffusers', '0.32'):
        creation['solver'] = 'euler'

    def make(iters, resume=False):
        cfg = config(images, place / 'run', iters=iters, hook=dict(warm_up=3, creation=dict(creation)), resume=resume)
        cfg.model.backbone = dict(backbone)
        return cfg

    return make


@pytest.mark.parametrize('kind', _OPTIONS)
def test_a_family_trains_creates_resumes_and_serves_the_tools(images, tmp_path, kind, counted):
    make = configs(kind, images, tmp_path)
    per_iteration = []
    runner = Runner.from_cfg(make(5))
    runner.register_hook(CountHook(counted, per_iteration))
    runner.train()
    # one encoding and one pass of the denoiser per image, in the warm-up and beside theta_C's labels
    assert per_iteration == [(4, 4)] * 5
    store = SyntheticStore(tmp_path / 'run' / 'store')
    assert len(store) == 8 and store.records()[0].T == 300
    resumed = train(make(6, resume=True))
    assert resumed.iter == 6 and len(SyntheticStore(tmp_path / 'run' / 'store')) == 8
    checkpoint = tmp_path / 'run' / 'iter_6.pth'
    state = load_weights_only(checkpoint)['state_dict']
    assert 'backbone.frozen_fingerprint' in state and not any('transformer' in n or 'unet' in n for n in state)

    cfg = make(6)
    for name in ('work_dir', 'launcher', 'resume', 'experiment_name'):
        cfg.pop(name)
    cfg.dump(str(tmp_path / 'config.py'))
    before_test = dict(counted)
    call('test', tmp_path / 'config.py', checkpoint, '--work-dir', tmp_path / 'test')
    assert {name: counted[name] - before_test[name] for name in counted} == dict(encode=8, predict=8)
    metrics = json.loads(next((tmp_path / 'test').glob('*/*.json')).read_text())
    summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())['stages']['self_improving']
    assert {name: metrics[name] for name in summary} == pytest.approx(summary)

    before_creation = dict(counted)
    call('create_data', tmp_path / 'config.py', checkpoint, '--out', tmp_path / 'made', '--limit', 2)
    made = SyntheticStore(tmp_path / 'made')
    assert len(made) == 2 and made.records()[0].source_path == store.records()[0].source_path
    seen = {name: counted[name] - before_creation[name] for name in counted}
    assert seen == dict(encode=2 + 2, predict=2 * _STEPS + 2)  # to generate, and to label what came out
