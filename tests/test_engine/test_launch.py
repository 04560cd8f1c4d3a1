import pytest
import torch
from mmengine.config import Config

from diff2in1_mm.engine.launch import cpu_takes_bf16, prepare_processes


@pytest.mark.parametrize('sync_bn', [None, 'torch'])
def test_no_sync_bn_on_cpus(monkeypatch, sync_bn):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = Config(dict(launcher='none', sync_bn=sync_bn,
                      model=dict(neck=[dict(norm_cfg=dict(type='SyncBN')), dict(type='BN')])))
    prepare_processes(cfg)
    assert cfg.model.neck[0].norm_cfg.type == 'BN' and cfg.sync_bn is None


@pytest.mark.parametrize('capability, takes', [
    ('NO AVX', False), ('AVX2', False), ('AVX512', True), ('DEFAULT', True)])
def test_bfloat16_is_for_cpus_that_have_it(monkeypatch, capability, takes):
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    assert cpu_takes_bf16() == takes
