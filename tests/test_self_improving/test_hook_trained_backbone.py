"""Teacher and student with denoisers of their own: whole runs, what theta_C costs, resuming, testing."""

import importlib.util
import json
import shutil

import pytest
import torch
from mmengine.runner import Runner

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.compat import load_weights_only
from diff2in1_mm.utils.resources import tool_path

from ..small_models import save_tiny_pipeline
from ..stores import lose_record
from ..tiny_runs import config, hook_of, train
from ..watched_runs import CountHook

pytest.importorskip('peft')

LORA = dict(type='lora', rank=2)


def run_config(images, work_dir, folder, how, iters=6, resume=False, creation=None, **more):
    hook = dict(warm_up=2, momentum=0.5, creation=dict(T=300, steps=1, batch_size=8, **(creation or {})))
    cfg = config(images, work_dir, iters=iters, hook=hook, resume=resume, **more)
    cfg.model.backbone = dict(
        type='DiffusionBackbone', diffusion=str(folder), out_channels=[8], out_strides=[8], train=how
    )
    cfg.model.decode_head.dropout_ratio = 0.0  # whose random state a resumed run does not have
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={'backbone.denoiser': dict(lr_mult=0.1)})
    cfg.default_hooks.logger.interval = 100  # figures take passes of their own
    return cfg


@pytest.mark.parametrize('how, amp', [(LORA, False), ('full', True)])
def test_theta_c_has_features_of_its_own(images, tmp_path, pipeline_folder, how, amp, counted, untouched):
    runner, seen = Runner.from_cfg(run_config(images, tmp_path, pipeline_folder, how, amp=amp)), []
    runner.register_hook(CountHook(counted, seen))
    backbone = runner.model.backbone
    generating = backbone.diffusion.fingerprint()
    runner.train()
    # theta_E sees every image, theta_C the synthetic ones alone
    synthetic = [rows for _, rows, _ in untouched]
    assert seen[:2] == [(4, 4)] * 2 and any(synthetic) and all(same for same, _, _ in untouched)
    assert [count for count in seen[3:] if count != (4, 4)] == [(4 + rows, 4 + rows) for rows in synthetic[-3:] if rows]
    theta_c = hook_of(runner).theta_c
    trained = {name: p for name, p in runner.model.named_parameters() if p.requires_grad}
    assert set(trained) <= set(theta_c.state_dict()) and any('backbone.denoiser' in name for name in trained)
    others = sum(buffer.numel() * buffer.element_size() for buffer in runner.model.buffers())
    assert theta_c.bytes == sum(p.numel() * p.element_size() for p in trained.values()) + others
    batch = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        student = backbone(batch)[0]
        with theta_c.applied(runner.model):
            teacher = backbone(batch)[0]
        assert torch.equal(backbone(batch)[0], student) and not torch.allclose(teacher, student)
    # images are made with the pretrained weights
    assert torch.equal(backbone.diffusion.fingerprint(), generating)
    store = SyntheticStore(tmp_path / 'store')
    assert len(store) == 8 and store.settings['diffusion'] == load_diffusion(pipeline_folder).digest()


@pytest.mark.parametrize(
    'backbone', [dict(train=LORA), dict(train='full', text_adapter=True), dict(text_adapter=True, with_cp=True)]
)
def test_a_run_goes_on_where_it_was_killed_and_is_tested(images, tmp_path, pipeline_folder, backbone):
    """In the creation, of which half is lost, and behind it; the checkpoint of the end is what was validated."""

    def configured(work_dir, **more):
        cfg = run_config(images, work_dir, pipeline_folder, None, **more)
        cfg.model.backbone.update(backbone)
        return cfg

    whole = train(configured(tmp_path / 'whole'))
    expected = load_weights_only(tmp_path / 'whole/iter_6.pth')
    trained = {
        name for name in expected['theta_E'] if name.startswith(('backbone.denoiser.', 'backbone.text_adapter.'))
    }
    assert any('.lora_B.' in name for name in trained) == (backbone.get('train') == LORA)
    assert any('text_adapter' in name for name in trained) == ('text_adapter' in backbone)
    assert not any('base_layer' in name or 'unet' in name for name in expected['state_dict'])
    for last in (2, 4):
        parts = tmp_path / f'from_{last}'
        shutil.copytree(tmp_path / 'whole', parts)
        (parts / 'iter_6.pth').unlink()
        (parts / 'last_checkpoint').write_text(str(parts / f'iter_{last}.pth'))
        for record in list(SyntheticStore(parts / 'store').records())[::2] if last == 2 else ():
            lose_record(parts / 'store', record.id)
        train(configured(parts, resume=True))
        found = load_weights_only(parts / 'iter_6.pth')
        for part in ('state_dict', 'theta_E'):
            torch.testing.assert_close(found[part], expected[part], rtol=0, atol=1e-6)
        torch.testing.assert_close(found['optimizer']['state'], expected['optimizer']['state'], rtol=0, atol=1e-6)
        assert any((found['theta_E'][name] != found['state_dict'][name]).any() for name in trained)
    tested = run_test_tool(configured(tmp_path / 'tested'), tmp_path, parts / 'iter_6.pth')
    assert tested['mIoU'] == hook_of(whole).state.metrics['mIoU']


def run_test_tool(cfg, folder, checkpoint, *options):
    """What tools/test.py measures."""
    cfg.dump(folder / 'config.py')
    spec = importlib.util.spec_from_file_location('test_tool', tool_path('tools/test.py'))
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main([str(folder / 'config.py'), str(checkpoint), '--work-dir', str(folder / 'tested'), *options])
    (metrics,) = (folder / 'tested').glob('*/*.json')
    return json.loads(metrics.read_text())


@pytest.fixture(scope='module')
def of_lora(images, pipeline_folder, tmp_path_factory):
    """A checkpoint of a run without the hook."""
    folder = tmp_path_factory.mktemp('lora')
    cfg = run_config(images, folder, pipeline_folder, LORA, iters=2)
    cfg.custom_hooks = []
    train(cfg)
    return folder / 'iter_2.pth'


def test_a_run_starts_from_a_checkpoint_of_lora(images, tmp_path, pipeline_folder, of_lora):
    cfg = run_config(images, tmp_path, pipeline_folder, LORA, iters=3)
    cfg.load_from = str(of_lora)
    cfg.optim_wrapper.optimizer.lr = 0.0
    train(cfg)
    theta, start = (load_weights_only(path)['state_dict'] for path in (tmp_path / 'iter_2.pth', of_lora))
    matrices = [name for name in start if '.lora_B.' in name]
    assert matrices and all(start[name].any() and torch.equal(theta[name], start[name]) for name in matrices)


@pytest.mark.parametrize('elsewhere', [True, False])
def test_a_checkpoint_of_lora_is_refused_elsewhere(images, tmp_path, pipeline_folder, of_lora, elsewhere, capsys):
    """Over another diffusion model, and where nothing is adapted: tested, and as the start of a run."""
    base = save_tiny_pipeline(tmp_path / 'other', seed=1) if elsewhere else pipeline_folder
    cfg = run_config(images, tmp_path / 'run', base, LORA if elsewhere else None)
    cfg.load_from = str(of_lora)
    words = 'features of another diffusion model than' if elsewhere else 'there is no place here: set `train` and'
    with pytest.raises(ValueError, match=words):
        train(cfg)
    with pytest.raises(SystemExit):
        run_test_tool(cfg, tmp_path, of_lora)
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_labels_of_the_last_denoising_step_are_refused_before_the_warm_up(images, tmp_path, pipeline_folder):
    cfg = run_config(images, tmp_path, pipeline_folder, 'lora', creation=dict(label_from='last_step'))
    with pytest.raises(ValueError, match=r"train or text_adapter it has its own\): set it to 'fresh'"):
        train(cfg)
