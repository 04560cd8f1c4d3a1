"""How much each of several tasks counts in the loss."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...utils.errors import UserError
from .task_kinds import KINDS

__all__ = ['TaskWeights', 'build_weights']

Losses = dict[str, dict[str, Tensor]]  # task -> name -> value


def build_weights(weights: Mapping[str, float] | str | None, tasks: Sequence[str]) -> 'TaskWeights':
    """What weighs the losses of some tasks.

    Args:
        weights (Mapping | str | None): See :class:`~diff2in1_mm.models.segmentors.MultiTaskEstimator`.
        tasks (Sequence[str]): Names.

    Raises:
        ValueError: Neither a known way nor numbers of these tasks.
    """
    if isinstance(weights, str) and weights in _LEARNED:
        return _LEARNED[weights](tasks)
    weights = {} if weights is None else weights
    named = isinstance(weights, Mapping) and set(weights) <= set(tasks)
    if (
        isinstance(weights, str)
        or not named
        or not all(isinstance(w, (int, float)) and math.isfinite(w) and w >= 0 for w in weights.values())
    ):
        raise UserError(
            f'weights of MultiTaskEstimator is {" or ".join(map(repr, _LEARNED))}, or a number >= 0 for each of '
            f'{", ".join(tasks)}, not {weights!r}'
        )
    return TaskWeights(tasks, weights)


class TaskWeights(nn.Module):
    """Fixed factors.

    Args:
        tasks (Sequence[str]): Names.
        factors (Mapping[str, float]): Of those that are not 1.
    """

    def __init__(self, tasks: Sequence[str], factors: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.tasks, self.factors = tuple(tasks), dict(factors or {})

    def forward(self, losses: Losses, shared: Sequence[Tensor]) -> Losses:
        """Weighted losses.

        Args:
            losses (dict): Task -> name -> value; names without 'loss' are figures and stay.
            shared (Sequence[Tensor]): Maps that all tasks begin from.
        """
        return {task: _times(own, self.factors.get(task, 1.0)) for task, own in losses.items()}


class _Uncertainty(TaskWeights):
    """Kendall, Gal and Cipolla (CVPR 2018), equations 7 and 10: a learned log variance for each task."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.log_variances = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def forward(self, losses: Losses, shared: Sequence[Tensor]) -> Losses:
        found = {}
        for task, own in losses.items():
            log_variance = self.log_variances[task]
            weight = (-log_variance).exp() * (1.0 if KINDS[task].classes else 0.5)
            # of a task that no image of the batch has labels for nothing is known: else its variance would fall
            share = 0.0 if 'loss_absent' in own else 0.5
            found[task] = dict(_times(own, weight), loss_uncertainty=log_variance * share)
        return found


class _GradNorm(TaskWeights):
    """GradNorm (Chen et al., ICML 2018), equations 1 and 2, on the shared maps.

    Weights ``w`` sum to the number of tasks and follow the loss ``sum |w_i g_i - mean(w g) r_i ** alpha|``,
    where ``g_i`` is the norm of the gradient of task i's loss in the maps that all tasks begin from (the paper: in the
    last shared layer's weights), and ``r_i`` how much less its loss has fallen since the first iteration than the
    others'. The weights are a softmax, in place of the paper's division after each step.
    """

    alpha = 1.5  # the paper's on NYUv2

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.logits = nn.Parameter(torch.zeros(len(self.tasks)))
        self.first_losses: Tensor
        self.register_buffer('first_losses', torch.zeros(len(self.tasks)))  # 0: not seen yet

    def forward(self, losses: Losses, shared: Sequence[Tensor]) -> Losses:
        weights = len(self.tasks) * self.logits.softmax(0)
        found = {task: _times(losses[task], weights[i].detach()) for i, task in enumerate(self.tasks)}
        if not torch.is_grad_enabled():  # losses are only looked at
            return found
        sums = [sum(value for name, value in losses[task].items() if 'loss' in name) for task in self.tasks]
        balance = self._imbalance(weights, sums, [maps for maps in shared if maps.requires_grad])
        found[self.tasks[0]]['loss_gradnorm'] = balance
        return found

    def _imbalance(self, weights: Tensor, sums: Sequence[Any], shared: Sequence[Tensor]) -> Tensor:
        if not shared:
            raise UserError(
                "weights='gradnorm' looks at gradients of maps that all tasks share, but what makes them is frozen: "
                "give the model a neck, or take weights='uncertainty'"
            )
        norms = []
        for value in sums:
            found = torch.autograd.grad(value, shared, retain_graph=True, allow_unused=True)
            squares = [gradient.float().square().sum() for gradient in found if gradient is not None]
            norms.append(torch.stack(squares).sum().sqrt() if squares else weights.new_zeros(()))
        norm, values = torch.stack(norms), torch.stack([value.detach().float() for value in sums])
        here = norm > 0  # a batch may lack a task's labels
        self.first_losses.copy_(torch.where(here & (self.first_losses == 0), values, self.first_losses))
        fallen = torch.where(here, values / self.first_losses.clamp_min(1e-12), 0)
        number = here.sum().clamp_min(1)
        rate = fallen / (fallen.sum() / number).clamp_min(1e-12)
        weighted = weights * norm
        target = (weighted.detach().sum() / number * rate**self.alpha).detach()
        return ((weighted - target).abs() * here).sum()


_LEARNED: dict[str, type[Any]] = dict(uncertainty=_Uncertainty, gradnorm=_GradNorm)


def _times(losses: dict[str, Tensor], weight: float | Tensor) -> dict[str, Tensor]:
    return {name: value * weight if 'loss' in name else value for name, value in losses.items()}
