"""A word where half precision is slow."""
import pytest
import torch

from diff2in1_mm.diffusion import precision


@pytest.mark.parametrize('device, capability, dtype, slow', [
    ('cpu', 'AVX2', 'bf16', True), ('cpu', 'AVX2', 'fp16', True), ('cpu', 'AVX2', 'fp32', False),
    ('cpu', 'AVX512', 'bf16', False), ('cpu', 'AVX512', 'fp16', True),
    ('cuda', 'AVX2', 'bf16', False)])
def test_half_precision_on_a_cpu_without_units_for_it(monkeypatch, device, capability, dtype, slow):
    said = []
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    monkeypatch.setattr(precision, 'get_device', lambda: device)
    monkeypatch.setattr(precision, 'print_log', lambda text, *_, **__: said.append(text))
    precision.warn_if_slow(dtype)
    assert len(said) == slow and all("dtype='fp32'" in text for text in said)
