"""What depends on the version of a library, and what the import leaves out of what libraries say."""

import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from diff2in1_mm.utils import compat

from ..versions import lines_of_ours


def imported_by(statement):
    command = f'{statement}; import sys; print(*(m for m in ("diffusers", "peft") if m in sys.modules))'
    result = subprocess.run([sys.executable, '-c', command], capture_output=True, text=True, check=True)
    return ' '.join(lines_of_ours(result.stdout)).split()


def test_libraries_of_diffusion_models_wait_until_they_are_needed():
    assert imported_by('import diff2in1_mm') == []
    assert imported_by('from diff2in1_mm.diffusion.loading.folder import load_whole; import diffusers')[:1] == [
        'diffusers'
    ]


def test_adafactor_is_built_from_a_config_when_it_is_asked_for():
    command = (
        'import sys, diff2in1_mm, torch\n'
        'from mmengine.optim import build_optim_wrapper\n'
        'wrapper = build_optim_wrapper(torch.nn.Linear(2, 2), dict(optimizer=dict(type="Adafactor", lr=0.1,'
        ' relative_step=False)))\n'
        'from transformers import Adafactor\n'
        'assert type(wrapper.optimizer) is Adafactor\n'
    )
    subprocess.run([sys.executable, '-c', command], check=True)


def test_a_reader_that_falls_back_to_unpickling_is_replaced(tmp_path, monkeypatch):
    """onedl-mmengine's; where it is not installed, its name is made."""
    from mmengine.runner import checkpoint

    monkeypatch.setattr(checkpoint, '_safe_torch_load', lambda *args, **kwargs: 'unpickled', raising=False)
    compat.let_mmengine_read_weights_only()
    torch.save(dict(a=torch.ones(2)), tmp_path / 'good.pth')
    assert checkpoint._safe_torch_load(tmp_path / 'good.pth', map_location='cpu')['a'].sum() == 2
    torch.save(dict(a=Path('x')), tmp_path / 'other.pth')
    with pytest.raises(pickle.UnpicklingError):
        checkpoint._safe_torch_load(tmp_path / 'other.pth', weights_only=False)


def test_configs_build_on_those_of_the_forks(tmp_path, monkeypatch):
    """onedl-mmengine's own name for MMSegmentation is no distribution of theirs."""
    from mmengine.config import utils

    monkeypatch.setattr(compat, 'uses_forks', lambda: True)
    monkeypatch.setitem(utils.MODULE2PACKAGE, 'mmseg', 'not-there')
    config = tmp_path / 'config.py'
    config.write_text("_base_ = 'mmseg::_base_/default_runtime.py'")
    with pytest.raises(ModuleNotFoundError, match='is not installed'):
        Config.fromfile(config)
    compat.let_configs_name_forks()
    assert Config.fromfile(config).default_scope == 'mmseg'


def test_a_part_that_needs_a_later_diffusers_alone_says_so(monkeypatch):
    compat.require_diffusers('0.31', 'SDXL')
    monkeypatch.setattr(compat.importlib.metadata, 'version', lambda name: '0.31.0')
    with pytest.raises(ImportError, match=r'^SDXL needs diffusers>=0.33 but found diffusers 0.31.0: run `pip install'):
        compat.require_diffusers('0.33', 'SDXL')


@pytest.mark.parametrize(
    'device, torch_version, kept', [('cpu', '2.3.1', False), ('cpu', '2.4.0', True), ('cuda', '2.1.2', True)]
)
def test_fused_optimizers_are_left_where_torch_has_them(monkeypatch, device, torch_version, kept):
    monkeypatch.setattr(compat.torch, '__version__', torch_version)
    wrapper = dict(optimizer=dict(type='AdamW', fused=True))
    compat.leave_optimizer_unfused(wrapper, device)
    assert wrapper == dict(optimizer=dict(type='AdamW', **(dict(fused=True) if kept else {})))
    state = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], fused=None).state_dict()
    state['param_groups'][0]['fused'] = True  # as a later torch has written it
    compat.leave_state_unfused(state, device)
    assert state['param_groups'][0]['fused'] is (True if kept else None)


@pytest.mark.parametrize('torch_version, dtype', [('2.3.1', torch.float32), ('2.4.0', torch.bfloat16)])
def test_text_encoders_are_in_single_precision_where_masks_are_not_cast(monkeypatch, torch_version, dtype):
    layer, ids = torch.nn.Linear(2, 2), torch.zeros(1, 2)
    monkeypatch.setattr(compat.torch, '__version__', torch_version)
    with torch.autocast('cpu', torch.bfloat16), compat.autocast_of_texts('cpu'):
        assert layer(ids).dtype == dtype


def test_weights_in_channels_last_are_written_by_a_diffusers_that_takes_contiguous_ones(monkeypatch):
    layer = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    monkeypatch.setattr(compat, '_is_before', lambda *_: False)
    assert compat.as_diffusers_writes(layer) is layer
    monkeypatch.setattr(compat, '_is_before', lambda *_: True)
    written = compat.as_diffusers_writes(layer)
    assert written.weight.is_contiguous() and written.weight.equal(layer.weight)
    assert not layer.weight.is_contiguous() and compat.as_diffusers_writes(written) is written


@pytest.mark.parametrize(
    'version, size, settled', [('0.31.0', (4, 6), 6), ('0.31.0', 4, 4), ('0.32.0', (4, 6), (4, 6))]
)
def test_a_unet_of_two_sides_is_settled_for_a_diffusers_that_takes_one(monkeypatch, version, size, settled):
    unet = SimpleNamespace(config=SimpleNamespace(sample_size=size))
    unet.register_to_config = lambda sample_size: setattr(unet.config, 'sample_size', sample_size)
    monkeypatch.setattr(compat.importlib.metadata, 'version', lambda name: version)
    compat.settle_sample_size(unet)
    assert unet.config.sample_size == settled


def test_a_loop_that_skips_by_its_sampler_draws_again():
    """onedl-mmengine's; the stock loop has nothing to change."""
    drawn = []

    class Iterator:
        def __next__(self):
            drawn.append(len(drawn))

        def skip_iter(self, count):
            raise AssertionError('skipped')

    loop = SimpleNamespace(dataloader_iterator=Iterator())
    compat.draw_again_on_resume(loop)
    loop.dataloader_iterator.skip_iter(3)
    assert drawn == [0, 1, 2]
    stock = SimpleNamespace(dataloader_iterator=iter([1]))
    compat.draw_again_on_resume(stock)
    assert list(stock.dataloader_iterator) == [1]
    compat.draw_again_on_resume(SimpleNamespace())  # an epoch-based loop
