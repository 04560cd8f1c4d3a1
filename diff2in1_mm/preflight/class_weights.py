"""What MMSegmentation's ``CrossEntropyLoss`` with class weights cannot do, told before a run."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper
from torch import nn

from ..utils.compat import class_weights_skip_ignored_pixels
from ..utils.errors import UserError
from ..utils.optional import is_installed

__all__ = ['check_class_weights', 'check_half_precision']


def check_class_weights(model: BaseModel, confidence: Any, creation: Mapping[str, Any]) -> None:
    """Refuses what ignores pixels of synthetic samples together with class weights that cannot ignore them.

    Args:
        model (BaseModel): A segmentor or another model.
        confidence (float | Sequence | Mapping | None): The hook's threshold.
        creation (Mapping): Settings of the creation.

    Raises:
        ValueError: A ``CrossEntropyLoss`` would fail on the first ignored pixel.
    """
    given = {'confidence': confidence or creation['confidence'], 'creation.filter_above': creation.get('filter_above')}
    ignoring = next((f'{name}={value}' for name, value in given.items() if value), None)
    if ignoring is None:
        return
    for name, loss in _weighted(model):
        if not class_weights_skip_ignored_pixels(loss.avg_non_ignore):
            raise UserError(
                f"{name}: MMSegmentation's CrossEntropyLoss with class_weight fails on pixels that are ignored, and "
                f"{ignoring} ignores some: give it type='WeightedCrossEntropyLoss'."
            )


def check_half_precision(runner) -> None:
    """Refuses class weights whose sum float16 cannot hold: over 65,504 it is infinite there, and the loss exactly 0.

    Raises:
        ValueError: A ``CrossEntropyLoss`` would teach nothing.
    """
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, AmpOptimWrapper) or wrapper.cast_dtype not in (None, torch.float16):
        return
    for name, _ in _weighted(runner.model):
        raise UserError(
            f"{name}: in float16 MMSegmentation's CrossEntropyLoss divides by the sum of the pixels' class weights, "
            'which is infinite beyond 65,504 (256 x 256 pixels), so that the loss is 0: give it '
            "type='WeightedCrossEntropyLoss', or optim_wrapper.dtype='bfloat16'."
        )


def _weighted(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Names of stock losses that divide by the sum of class weights, and the losses."""
    if not is_installed('mmseg'):
        return
    from mmseg.models.losses import CrossEntropyLoss

    for name, loss in model.named_modules():
        weighted = type(loss) is CrossEntropyLoss and loss.class_weight is not None and loss.reduction == 'mean'
        if weighted and not (loss.use_sigmoid or loss.use_mask):
            yield name, loss
