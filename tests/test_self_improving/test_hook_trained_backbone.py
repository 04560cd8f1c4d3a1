"""Teacher and student with denoisers of their own: whole runs, what theta_C costs, resuming, testing."""

import importlib.util
import json

import pytest
import torch
from mmengine.runner import Runner

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.compat import load_weights_only
from diff2in1_mm.utils.resources import tool_path

from ..tiny_runs import config, hook_of, train
from ..watched_runs import CountHook

pytest.importorskip('peft')


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


@pytest.mark.parametrize('how, amp', [(dict(type='lora', rank=2), False), ('full', True)])
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


def test_a_run_with_lora_goes_on_where_it_was_and_is_tested(images, tmp_path, pipeline_folder):
    lora = dict(type='lora', rank=2)
    whole = train(run_config(images, tmp_path / 'whole', pipeline_folder, lora))
    train(run_config(images, tmp_path / 'parts', pipeline_folder, lora, iters=4))
    train(run_config(images, tmp_path / 'parts', pipeline_folder, lora, resume=True))
    expected, found = (load_weights_only(tmp_path / run / 'iter_6.pth') for run in ('whole', 'parts'))
    for part in ('state_dict', 'theta_E'):
        assert any('.lora_B.' in name for name in expected[part])
        assert not any('base_layer' in name or 'unet' in name for name in expected[part])
        for name, value in expected[part].items():
            assert torch.equal(found[part][name], value), name
    cfg = run_config(images, tmp_path / 'tested', pipeline_folder, lora)
    cfg.dump(tmp_path / 'config.py')
    spec = importlib.util.spec_from_file_location('test_tool', tool_path('tools/test.py'))
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    checkpoint = str(tmp_path / 'parts' / 'iter_6.pth')
    tool.main([str(tmp_path / 'config.py'), checkpoint, '--work-dir', str(tmp_path / 'tested')])
    (metrics,) = (tmp_path / 'tested').glob('*/*.json')
    assert json.loads(metrics.read_text())['mIoU'] == hook_of(whole).state.metrics['mIoU']


def test_labels_of_the_last_denoising_step_are_refused_before_the_warm_up(images, tmp_path, pipeline_folder):
    cfg = run_config(images, tmp_path, pipeline_folder, 'lora', creation=dict(label_from='last_step'))
    with pytest.raises(ValueError, match=r"train or text_adapter it has its own\): set it to 'fresh'"):
        train(cfg)
