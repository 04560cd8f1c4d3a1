"""A word where half precision is slow."""

import pytest
import torch

from diff2in1_mm.diffusion import precision


@pytest.mark.parametrize(
    'device, has, dtype, better',
    [
        ('cpu', False, 'bf16', 'fp32'),
        ('cpu', False, 'fp16', 'fp32'),
        ('cpu', False, 'fp32', None),
        ('cpu', True, 'bf16', None),
        ('cpu', True, 'fp16', 'fp32'),
        ('cuda', False, 'bf16', 'fp16'),
        ('cuda', True, 'bf16', None),
        ('cuda', False, 'fp16', None),
    ],
)
def test_half_precision_without_units_for_it(monkeypatch, device, has, dtype, better):
    said = []
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'AVX512' if has else 'AVX2')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: device == 'cuda')
    # without the argument torch counts emulation, too
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: has or including_emulation)
    monkeypatch.setattr(precision, 'get_device', lambda: device)
    monkeypatch.setattr(precision, 'print_log', lambda text, *_, **__: said.append(text))
    precision.warn_if_slow(dtype)
    assert [f"set model.backbone.diffusion.dtype='{better}'" in text for text in said] == ([True] if better else [])
