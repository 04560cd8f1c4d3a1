"""Half precision where it pays, and a word where it does not."""
import logging

import torch
from mmengine.device import get_device
from mmengine.logging import print_log

DTYPES = dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 (AVX-512 and later), rather than emulating it."""
    return torch.backends.cpu.get_cpu_capability() not in ('NO AVX', 'AVX2')


def warn_if_slow(dtype: str) -> None:
    """Log a warning where half precision would run on a CPU that has no units for it.

    Args:
        dtype (str): 'fp32', 'fp16' or 'bf16'.
    """
    if get_device() != 'cpu' or dtype == 'fp32' or (dtype == 'bf16' and cpu_has_bf16()):
        return
    print_log(f'There is no GPU, and in dtype={dtype!r} this CPU takes several times as long as in '
              "float32: set model.backbone.diffusion.dtype='fp32'.", 'current',
              level=logging.WARNING)
