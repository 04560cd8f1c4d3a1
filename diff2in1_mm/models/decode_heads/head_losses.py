"""The losses of a head: the default of normals, what does not fit, and their sum."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ...utils.errors import UserError

__all__ = ['check_without_kappa', 'cosine_and_l1', 'sum_losses']

Losses = nn.Module | nn.ModuleList


def cosine_and_l1() -> list[dict]:
    """Config of the default losses of normals: cosine and L1, added."""
    return [dict(type='NormalLoss', kind=kind, loss_name=f'loss_{kind}') for kind in ('cosine', 'l1')]


def check_without_kappa(head: str, losses: Losses) -> None:
    """Stop on losses that no head with three channels can serve.

    Args:
        head (str): Name of the head, for the message.
        losses (nn.Module | nn.ModuleList): Of the head.

    Raises:
        ValueError: One of them needs the concentration kappa.
    """
    for loss in _each(losses):
        if getattr(loss, 'wants_kappa', False):
            raise UserError(
                f'loss_decode of {head} is NormalLoss(kind={loss.kind!r}), which needs kappa, but this head predicts '
                "none: set kind='cosine' or 'l1' (or leave loss_decode out), or take NormalHead"
            )


def sum_losses(losses: Losses, *args: Tensor) -> dict[str, Tensor]:
    """Loss name -> value, of one loss or several; those of one name added."""
    found: dict[str, Tensor] = {}
    for loss in _each(losses):
        found[loss.loss_name] = found.get(loss.loss_name, 0) + loss(*args)
    return found


def _each(losses: Losses) -> Iterable[Any]:
    return losses if isinstance(losses, nn.ModuleList) else [losses]
