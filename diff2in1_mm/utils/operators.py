"""mmcv without its compiled operators: torchvision's in their place where it has them.

MMSegmentation imports ``mmcv.ops`` for a few heads and losses, and MMDetection for all; that fails where mmcv was
installed without operators (``mmcv-lite``, or a build that could not see torch). Segmentation itself uses none of
them. :func:`stand_in_for_operators` lets the import pass: non-maximum suppression, RoIAlign and modulated deformable
convolution then are torchvision's, and every other operator says at its first use what to install.
"""

import functools
import importlib
import importlib.machinery
import sys
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .errors import NotInstalledError, first_line
from .requirements import LIBRARIES, is_installed

_NAME = 'mmcv._ext'


def stand_in_for_operators() -> None:
    """Puts a stand-in at ``mmcv._ext`` where mmcv has none. Calling it again changes nothing.

    Raises:
        ImportError: There are operators, but they do not load with this torch.
    """
    if is_installed(_NAME):
        _check_that_they_load()
    else:
        sys.modules[_NAME] = _StandIn(_NAME, __doc__)


def problem_of_operators() -> str | None:
    """One sentence where detectors would not run, as neither mmcv nor torchvision has operators; else None."""
    if not isinstance(sys.modules.get(_NAME), _StandIn):
        return None
    try:
        _torchvision()
    except NotInstalledError as error:
        return str(error)
    return None


def _install() -> str:
    mmcv = LIBRARIES['mmcv']
    name = 'onedl-mmcv' if mmcv.distribution == 'onedl-mmcv' else 'mmcv'
    return f'pip uninstall -y {mmcv.distribution}; {mmcv.installs[name]}'


def _check_that_they_load() -> None:
    try:
        importlib.import_module(_NAME)
    except ImportError as error:
        raise ImportError(
            f'The compiled operators of mmcv do not load with torch {torch.__version__} ({first_line(error)}), as '
            f'they were built for another torch: run `{_install()} --no-cache-dir`.'
        ) from error


@functools.cache
def _torchvision() -> Any:
    """Its module of operators, tried once.

    Raises:
        NotInstalledError: It is not there, or was built for another torch.
    """
    try:
        served = importlib.import_module('torchvision.ops')
        served.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # ImportError, or what torch says of an operator that is not registered
        raise NotInstalledError(
            'the mmcv that is installed has no compiled operators, and torchvision cannot serve in their place '
            f'({first_line(error)}): run `{_install()}`, or install the torchvision of torch {torch.__version__}.'
        ) from error
    return served


def _refuse(name: str, *args: Any, **kwargs: Any) -> None:
    raise NotInstalledError(
        f'the operator {name} is one of those of mmcv, which is installed without them: run `{_install()}`.'
    )


class _StandIn(ModuleType):
    """Has every operator that ``mmcv.ops`` asks for, with mmcv's own signatures."""

    def __init__(self, name: str, doc: str) -> None:
        super().__init__(name, doc)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        return partial(_refuse, name)

    @staticmethod
    def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        """Indices of the boxes that are kept. ``offset`` 1: a box from 0 to 9 is 10 wide."""
        return _torchvision().nms(boxes + boxes.new_tensor([0, 0, offset, offset]), scores, iou_threshold)

    @staticmethod
    def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **how: Any):
        """Fills ``output`` (rois, C, h, w)."""
        output.copy_(_roi_align(input, rois, **how))

    @staticmethod
    def roi_align_backward(
        gradient: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor, **how: Any
    ):
        """Fills ``grad_input``; RoIAlign is linear, so that its gradient does not need the input."""
        with torch.enable_grad():
            input = torch.zeros_like(grad_input, requires_grad=True)
            output = _roi_align(input, rois, **how)
        grad_input.copy_(torch.autograd.grad(output, input, gradient)[0])

    @staticmethod
    def modulated_deform_conv_forward(
        input: Tensor, weight: Tensor, bias: Tensor, _ones: Tensor, offset: Tensor, mask: Tensor, output: Tensor,
        _columns: Tensor, **how: Any,
    ):  # fmt: skip
        """Fills ``output``."""
        output.copy_(_deform_conv(input, weight, bias, offset, mask, **how).view_as(output))

    @staticmethod
    def modulated_deform_conv_backward(
        input: Tensor, weight: Tensor, bias: Tensor, _ones: Tensor, offset: Tensor, mask: Tensor, _columns: Tensor,
        grad_input: Tensor, grad_weight: Tensor, grad_bias: Tensor, grad_offset: Tensor, grad_mask: Tensor,
        gradient: Tensor, **how: Any,
    ):  # fmt: skip
        """Fills the gradients, by computing the output again."""
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (input, weight, bias, offset, mask)]
            output = _deform_conv(*leaves, **how)
        found = torch.autograd.grad(output, leaves, gradient, allow_unused=True)
        for grad, value in zip((grad_input, grad_weight, grad_bias, grad_offset, grad_mask), found):
            if value is not None:
                grad.copy_(value)


def _roi_align(input: Tensor, rois: Tensor, aligned_height: int, aligned_width: int, spatial_scale: float,
               sampling_ratio: int, pool_mode: int, aligned: bool) -> Tensor:  # fmt: skip
    if pool_mode != 1:  # 0 is the maximum
        _refuse('roi_align with pool_mode="max"')
    size = (aligned_height, aligned_width)
    return _torchvision().roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned)


def _deform_conv(
    input: Tensor, weight: Tensor, bias: Tensor, offset: Tensor, mask: Tensor, *, stride_h: int, stride_w: int,
    pad_h: int, pad_w: int, dilation_h: int, dilation_w: int, with_bias: bool, **_: Any,
) -> Tensor:  # fmt: skip
    # groups are told by the shapes
    return _torchvision().deform_conv2d(
        input, offset, weight, bias if with_bias else None, (stride_h, stride_w), (pad_h, pad_w),
        (dilation_h, dilation_w), mask,
    )  # fmt: skip
