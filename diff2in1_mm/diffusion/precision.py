"""Half precision where it pays, and a word where it does not."""

import logging
from collections.abc import Collection

import torch
from mmengine.device import get_device
from mmengine.logging import print_log

from ..utils.errors import UserError
from ..utils.values import check_choice

DTYPES = dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 (AVX-512 and later), rather than emulating it."""
    return torch.backends.cpu.get_cpu_capability() not in ('NO AVX', 'AVX2')


def gpu_has_bf16() -> bool:
    """Whether this GPU computes in bfloat16 (Ampere and later), rather than emulating it."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def check_dtype(dtype: str, computed: Collection[str], source: str) -> None:
    """Name a dtype that is none, or in which a family's activations may overflow.

    Args:
        dtype (str): Wanted.
        computed (Collection[str]): In which the family computes right.
        source (str): The model, for the message.

    Raises:
        ValueError: It is not among them.
    """
    check_choice('dtype', dtype, DTYPES)
    if dtype not in computed:
        raise UserError(
            f'activations of {source} may overflow in {dtype}: set diffusion.dtype to '
            f'{" or ".join(map(repr, computed))}'
        )


def warn_if_slow(dtype: str) -> None:
    """Log a warning where half precision would run on a device that has no units for it.

    Args:
        dtype (str): 'fp32', 'fp16' or 'bf16'.
    """
    if get_device() == 'cuda':
        better = 'fp16' if dtype == 'bf16' and not gpu_has_bf16() else dtype
    elif get_device() == 'cpu':
        better = dtype if dtype == 'bf16' and cpu_has_bf16() else 'fp32'
    else:
        return
    if better != dtype:
        print_log(
            f'This {"GPU" if get_device() == "cuda" else "CPU"} has no units for dtype={dtype!r} and takes several '
            f'times as long as in {better!r}: set model.backbone.diffusion.dtype={better!r}.',
            'current',
            level=logging.WARNING,
        )
