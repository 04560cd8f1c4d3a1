import argparse

import pytest
import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel

from diff2in1_commands import add_common_options
from diff2in1_mm.launch.config import creation_of, load_config
from diff2in1_mm.launch.processes import cpu_takes_bf16, prepare_processes, unused_weights_named
from diff2in1_mm.utils.configs import find_hook, type_name
from diff2in1_mm.utils.errors import UserError


@pytest.mark.parametrize('sync_bn', [None, 'torch'])
def test_no_sync_bn_on_cpus(monkeypatch, sync_bn):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = Config(
        dict(launcher='none', sync_bn=sync_bn, model=dict(neck=[dict(norm_cfg=dict(type='SyncBN')), dict(type='BN')]))
    )
    prepare_processes(cfg)
    assert cfg.model.neck[0].norm_cfg.type == 'BN' and cfg.sync_bn is None


@pytest.mark.parametrize('capability, takes', [('NO AVX', False), ('AVX2', False), ('AVX512', True), ('DEFAULT', True)])
def test_bfloat16_is_for_cpus_that_have_it(monkeypatch, capability, takes):
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    assert cpu_takes_bf16() == takes


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_launchers_for_gpus_only(monkeypatch, launcher):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match=f'--launcher {launcher} .* by torchrun'):
        prepare_processes(Config(dict(launcher=launcher, model={})))


@pytest.mark.parametrize(
    'launcher, starter, gpus',
    [('pytorch', 'torchrun', False), ('pytorch', 'torchrun', True), ('slurm', 'srun', True), ('mpi', 'mpirun', True)],
)
def test_a_process_that_the_launcher_did_not_start(monkeypatch, launcher, starter, gpus):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus)
    for variable in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_LOCAL_RANK'):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=f'is missing: start the tool by {starter}, or leave'):
        prepare_processes(Config(dict(launcher=launcher, model={})))


@pytest.mark.parametrize('gpus', [False, True])
def test_a_static_graph_of_accumulated_gradients_is_refused(monkeypatch, gpus):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus)
    cfg = Config(
        dict(
            launcher='pytorch',
            model={},
            model_wrapper_cfg=dict(static_graph=True),
            optim_wrapper=dict(accumulative_counts=2),
        )
    )
    with pytest.raises(ValueError, match='static_graph=True does not go with optim_wrapper.accumulative_counts=2'):
        prepare_processes(cfg)
    cfg.launcher = 'none'  # no DDP
    prepare_processes(cfg)


def test_weights_without_a_gradient_have_names(tmp_path):
    """What torch says of them in the second iteration."""
    model = torch.nn.ModuleDict(
        dict(frozen=torch.nn.Linear(2, 2), read=torch.nn.Linear(2, 2), unread=torch.nn.Linear(2, 2))
    )
    model.forward = lambda x: model['read'](model['frozen'](x))
    model['frozen'].requires_grad_(False)
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/meeting', rank=0, world_size=1)
    try:
        runner = argparse.Namespace(model=MMDistributedDataParallel(model))
        with pytest.raises(UserError, match=r'depends on unread.weight and 1 more, for .*: set find_unused_parameters'):
            with unused_weights_named(runner):
                for _ in range(2):
                    runner.model(torch.zeros(1, 2)).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    for unknown in ('another', 'did not receive grad for rank 0: 3 400'):  # of which the second was frozen since
        with pytest.raises(RuntimeError, match=f'^{unknown}$'), unused_weights_named(runner):
            raise RuntimeError(unknown)


@pytest.mark.parametrize('own, pad', [('dict()', 3), ('dict(data_preprocessor=dict(pad=7))', 7)])
def test_a_data_preprocessor_beside_the_model(tmp_path, own, pad):
    """Who builds the model without a Runner finds it in the model, where that has none."""
    path = tmp_path / 'config.py'
    path.write_text(f'data_preprocessor = dict(pad=3)\nmodel = {own}\n')
    parser = argparse.ArgumentParser()
    add_common_options(parser)
    args = parser.parse_args([])
    args.config, args.work_dir = str(path), None
    assert load_config(args).model.data_preprocessor.pad == pad
    path.write_text('data_preprocessor = dict(pad=3)\nautoencoder = dict()\n')
    assert 'model' not in load_config(args)


DATA = """
data_root = {root!r}
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=[dict(path='other/x')]))
val_evaluator = [dict(ann_file=data_root + {slash!r} + 'annotations/val.json')]
other, sizes = {root!r} + '2', (1, 2)
work_dir = 'work_dirs/x'
"""


@pytest.mark.parametrize('root, slash', [('data/set', '/'), ('data/set/', '')])
@pytest.mark.parametrize('given', ['/elsewhere/set', '/elsewhere/set/'])
def test_data_that_lie_elsewhere(tmp_path, root, slash, given):
    path = tmp_path / 'config.py'
    path.write_text(DATA.format(root=root, slash=slash))
    parser = argparse.ArgumentParser()
    add_common_options(parser)
    args = parser.parse_args(['--cfg-options', f'data_root={given}', 'val_evaluator.0.metric=bbox'])
    args.config, args.work_dir = str(path), None
    cfg = load_config(args)
    assert cfg.data_root == cfg.train_dataloader.dataset.data_root == '/elsewhere/set'
    assert cfg.val_evaluator[0] == dict(ann_file='/elsewhere/set/annotations/val.json', metric='bbox')
    assert cfg.train_dataloader.dataset.pipeline == [dict(path='other/x')]
    assert cfg.other == ('data/set2' if slash else '/elsewhere/set/2') and cfg.sizes == (1, 2)
    path.write_text('train_dataloader = dict(dataset=dict(data_root="x"))\n')
    with pytest.raises(ValueError, match='no top-level `data_root`'):
        load_config(args)
    path.write_text('images = dict(path="x")\n')  # as of a diffusion model's training
    args.cfg_options.pop('val_evaluator.0.metric')
    assert load_config(args).data_root == given


class SelfImprovingHook:
    """Of a config of MMEngine's new style, which names classes themselves."""


@pytest.mark.parametrize('kind', ['SelfImprovingHook', 'mmengine.SelfImprovingHook', SelfImprovingHook])
def test_types_by_name_and_by_class(kind):
    hook = dict(type=kind)
    assert find_hook(Config(dict(custom_hooks=[dict(type='Other'), hook])), 'SelfImprovingHook')
    assert type_name(hook) == 'SelfImprovingHook' and type_name({}) == ''


@pytest.mark.parametrize('given, left', [(1, {}), (2.0, dict(negative_prompt='blurred'))])
def test_guidance_of_a_config_can_be_switched_off(given, left):
    hook = dict(type='SelfImprovingHook', creation=dict(guidance_scale=3, negative_prompt='blurred'))
    settings = creation_of(Config(dict(custom_hooks=[hook])), guidance_scale=given)
    assert settings.pop('guidance_scale') == given
    assert {k: v for k, v in settings.items() if k == 'negative_prompt'} == left


@pytest.mark.parametrize(
    'own, given, steps',
    [
        (dict(steps=7), {}, 7),
        (dict(steps=7), dict(solver='dpmsolver++'), 7),  # the default
        (dict(steps=7), dict(solver='ddim'), None),
        (dict(steps=7, solver='ddim'), dict(solver='ddim'), 7),
        (dict(steps=7, solver='ddim'), dict(solver='dpmsolver++'), None),
        (dict(steps=7), dict(solver='ddim', steps=9), 9),
        (dict(steps=7), dict(solver=None, steps=None), 7),
    ],
)
def test_steps_are_for_their_solver(own, given, steps):
    cfg = Config(dict(custom_hooks=[dict(type='SelfImprovingHook', creation=dict(T=300, **own))]))
    settings = creation_of(cfg, **given)
    assert settings.get('steps') == steps and settings['T'] == 300
    assert settings.get('solver') == (given.get('solver') or own.get('solver'))


def _loaded(tmp_path, text):
    path = tmp_path / 'config.py'
    path.write_text(text)
    parser = argparse.ArgumentParser()
    add_common_options(parser)
    args = parser.parse_args([])
    args.config, args.work_dir = str(path), None
    return load_config(args)


_MODEL = "model = dict(type='EncoderDecoder', backbone=dict(type='DiffusionBackbone', {}), test_cfg=dict(mode='{}'))\n"


def test_windows_of_segmentors_on_our_backbone_are_run_in_batches(tmp_path):
    assert find_hook(_loaded(tmp_path, _MODEL.format('', 'slide')), 'BatchedWindowsHook')
    assert not _loaded(tmp_path, _MODEL.format('', 'whole')).get('custom_hooks')
    other = _MODEL.format('', 'slide').replace('DiffusionBackbone', 'ResNet')
    assert not _loaded(tmp_path, other).get('custom_hooks')


@pytest.mark.parametrize(
    'cache, views',
    [('', None), ('feature_cache=dict(folder="f"),', 8), ('feature_cache=dict(folder="f", views=0),', None)],
)
def test_the_training_data_get_the_views_that_are_kept(tmp_path, cache, views):
    data = "train_dataloader = dict(dataset=dict(type='{}', dataset=dict(type='CamVidDataset')))\n"
    model = _MODEL.format(cache, 'whole')
    mixed = _loaded(tmp_path, model + data.format('SyntheticMixDataset')).train_dataloader.dataset
    assert mixed.get('views') == views
    plain = _loaded(tmp_path, model + data.format('RepeatDataset')).train_dataloader.dataset
    if views is None:
        assert plain.type == 'RepeatDataset'
    else:
        assert (plain.type, plain.ratio, plain.views) == ('SyntheticMixDataset', 0.0, 8)
        assert plain.dataset.dataset.type == 'CamVidDataset'
