"""Mixed precision that also works on a CPU."""

from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from ..utils.errors import UserError

#: Modules of detectors that call an operator of MMCV; it has none for bfloat16, on CPUs and GPUs.
_WITHOUT_BFLOAT16 = ('RoIAlign', 'RoIPool', 'DeformConv2dPack', 'ModulatedDeformConv2dPack')
#: These compute on CPUs without MMCV's operators.
_WITHOUT_ON_GPUS = (*_WITHOUT_BFLOAT16, 'MultiScaleDeformableAttention', 'FocalLoss')


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Forward and loss under bfloat16 autocast, weights and optimizer in float32.

    MMEngine's ``AmpOptimWrapper`` refuses CPUs and always scales the loss; bfloat16 has float32's
    range and needs no scaling.
    """

    _checked: tuple[nn.Module | None, str] = (None, '')

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast around what the base class does (gradient accumulation).

        Raises:
            ValueError: The model cannot train in bfloat16 on this device.
        """
        device = get_device()
        if self._checked[0] is not model or self._checked[1] != device:  # a walk over all modules: once
            _check_operators(model, device)
            self._checked = (model, device)
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def _check_operators(model: nn.Module, device: str) -> None:
    kinds = _WITHOUT_BFLOAT16 if device == 'cpu' else _WITHOUT_ON_GPUS
    found = next((type(m).__name__ for m in model.modules() if type(m).__name__ in kinds), None)
    if found is None:
        return
    if device == 'cpu':
        raise UserError(
            'mixed precision (--amp) on a CPU is not for two-stage detectors and deformable '
            f"convolutions, as MMCV's operator of {found} has no bfloat16: leave it out, so that "
            'they train in float32 (OptimWrapper), or train on a GPU in float16 (AmpOptimWrapper)'
        )
    raise UserError(
        f"Bf16OptimWrapper is not for this model, as MMCV's operator of {found} has no bfloat16: "
        "set optim_wrapper.type='AmpOptimWrapper' (float16; --amp of tools/train.py does so on "
        "GPUs), or 'OptimWrapper' (float32)"
    )
