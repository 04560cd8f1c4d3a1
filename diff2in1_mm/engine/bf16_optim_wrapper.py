"""Mixed precision that also works on a CPU."""
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Forward and loss under bfloat16 autocast, weights and optimizer in float32.

    MMEngine's ``AmpOptimWrapper`` refuses CPUs and always scales the loss; bfloat16 has float32's
    range and needs no scaling.
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast around what the base class does (gradient accumulation).

        Raises:
            ValueError: The model cannot train in bfloat16 on this device.
        """
        if get_device() == 'cpu' and any(type(m).__name__ == 'RoIAlign' for m in model.modules()):
            raise ValueError(
                'mixed precision (--amp) on a CPU is not for two-stage detectors, as MMCV\'s '
                'operators for boxes have no bfloat16 there: leave it out, or train on a GPU.')
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield
