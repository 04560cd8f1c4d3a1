"""What a run with :class:`SelfImprovingHook` must be like, told in one sentence where it is not."""

import math
from collections.abc import Mapping
from typing import Any

import torch.nn as nn
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.model import BaseModel
from mmengine.runner import EpochBasedTrainLoop, FlexibleRunner

from ..datasets.wrappers import resolve
from ..hooks.checkpoint import AtomicCheckpointHook
from ..tasks.registry import tasks_of
from ..utils.errors import UserError
from ..utils.models import backbone_of, shares_features
from .class_weights import check_half_precision

__all__ = [
    'check_checkpoints',
    'check_hooks',
    'check_interval',
    'check_run',
    'check_targets',
    'check_views',
    'to_iterations',
    'warn_of_ended_schedules',
]

# They hold parameters in pieces, or in an engine of their own, where theta_C cannot reach them.
_STRATEGIES = ('FSDPStrategy', 'DeepSpeedStrategy', 'ColossalAIStrategy')
_WRAPPERS = (
    'MMFullyShardedDataParallel',
    'MMSeparateDistributedDataParallel',
    'MMDeepSpeedEngineWrapper',
    'CollosalAIModelWrapper',
    'ColossalAIModelWrapper',
)


def check_run(runner) -> None:
    """Refuses what does not work together with the hook; warns of a seed that a resume would lose.

    Raises:
        ValueError: One sentence with what to change.
    """
    strategy = type(getattr(runner, 'strategy', None)).__name__
    if strategy in _STRATEGIES:
        raise UserError(
            f'SelfImprovingHook does not work with {strategy}, which splits the '
            'parameters: use the default strategy (one process or DDP).'
        )
    wrapper = type(runner.model).__name__
    if wrapper in _WRAPPERS:
        raise UserError(
            f'SelfImprovingHook does not work with {wrapper}: use '
            "model_wrapper_cfg=dict(type='MMDistributedDataParallel')."
        )
    compiled = runner._compile if isinstance(runner, FlexibleRunner) else runner.cfg.get('compile')
    if compiled is not None and compiled is not False:
        raise UserError(
            'SelfImprovingHook exchanges theta_E and theta_C inside the forward that `compile` traces, which would '
            'then label with theta_E: remove `compile` from the config.'
        )
    check_hooks(runner)
    check_checkpoints(runner)
    check_half_precision(runner)
    if runner._randomness_cfg.get('seed') is None:
        runner.logger.warning(
            'This run draws a seed of its own, and would draw another one when it resumes, so that '
            'its batches differ: set randomness = dict(seed=0) in the config.'
        )


def warn_of_ended_schedules(runner) -> None:
    """Warns of a learning rate that is 0 before the run ends, as where only its length was changed.

    Looked at are schedules that fall to ``eta_min`` and stay there.
    """
    for schedules in _schedules_by_optimizer(runner):
        last = max((s for s in schedules if s.param_name == 'lr'), key=lambda s: (s.by_epoch, s.end), default=None)
        if last is None or getattr(last, 'eta_min', None) != 0 or getattr(last, 'eta_min_ratio', None):
            continue
        total = runner.max_epochs if last.by_epoch else runner.max_iters
        if total and last.end < total:
            unit = 'epochs' if last.by_epoch else 'iterations'
            runner.logger.warning(
                f'{type(last).__name__} brings the learning rate to 0 after {last.end} of {total} '
                f'{unit}, and nothing is learned in the rest: set `end` of that param_scheduler '
                f'to {total}, or its eta_min above 0.'
            )


def _schedules_by_optimizer(runner) -> list:
    schedules = runner.param_schedulers or []
    return list(schedules.values()) if isinstance(schedules, dict) else [schedules]


def check_hooks(runner) -> None:
    """Refuses a second moving average; warns of checkpoints that a kill can damage.

    Raises:
        ValueError: An ``EMAHook`` is there.
    """
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            raise UserError(
                f'{type(hook).__name__} and SelfImprovingHook both replace the weights by an '
                'average: remove it from custom_hooks (theta_C is the average, see `momentum`).'
            )
        if isinstance(hook, CheckpointHook) and not isinstance(hook, AtomicCheckpointHook):
            runner.logger.warning(
                'A kill while CheckpointHook writes can leave no loadable checkpoint: set '
                "default_hooks.checkpoint.type = 'AtomicCheckpointHook'."
            )


def check_checkpoints(runner) -> None:
    """Refuses checkpoints from which a run would not go on where it was.

    Raises:
        ValueError: A FlexibleRunner with MMEngine's own hook, see ``AtomicCheckpointHook``.
    """
    stock = [
        hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and not isinstance(hook, AtomicCheckpointHook)
    ]
    if stock and isinstance(runner, FlexibleRunner):
        raise UserError(
            f'{type(runner).__name__} notes one epoch too many in the checkpoint that '
            f'{type(stock[0]).__name__} writes before the creation, so that a resumed run would '
            "skip one: set default_hooks.checkpoint.type = 'AtomicCheckpointHook'."
        )


def check_targets(targets: str, creation: Mapping[str, Any], dataset: Any) -> None:
    """Refuses ``targets='unlabelled'`` where a creation takes no unlabelled pictures, or images are joined.

    Args:
        targets (str): Of the hook.
        creation (Mapping): Its settings of the creation.
        dataset: That serves the samples.

    Raises:
        ValueError: One sentence with what to change.
    """
    if targets == 'unlabelled' and creation.get('unlabelled') is None:
        raise UserError(
            "targets='unlabelled' labels the pictures of creation.unlabelled in every iteration, and that is not set: "
            "name their folder there, or use targets='creation'."
        )
    if targets == 'unlabelled' and hasattr(dataset, 'real') and resolve(dataset.real, 0).mixers:
        raise UserError(
            "targets='unlabelled' cannot tell pictures from made samples in what a mixing wrapper (Mosaic, MixUp, "
            "PasteThings) has joined: leave the wrapper out, or use 'per_iteration' or 'creation'."
        )


def check_views(model: BaseModel, student_view: Any, target_mode: str) -> None:
    """Refuses settings that this model cannot follow.

    Raises:
        ValueError: One sentence with what to change.
    """
    if student_view == 'feature_dropout' and not shares_features(model):
        raise UserError(
            "student_view='feature_dropout' drops channels of a frozen DiffusionBackbone's features, which theta_C and "
            f"theta_E share, and {type(backbone_of(model)).__name__} has none, or trains its own: use 'same' or "
            "'strong'."
        )
    if getattr(student_view, 'cutmix', 0) and [task.name for task in tasks_of(model)] != ['segmentation']:
        raise UserError(
            f'student_view.cutmix joins label maps, and {type(model).__name__} learns other labels: leave it out.'
        )
    kept = any(getattr(backbone_of(model), name, None) for name in ('feature_cache', '_cache'))
    if getattr(student_view, 'of_both', False) and kept:
        raise UserError(
            "student_view with of='both' shows new real images in every iteration, and backbone.feature_cache or "
            "cached_images keeps features of such as come again: leave one of them out, or set of='synthetic'."
        )
    if target_mode == 'train' and hasattr(model, 'dn_query_generator'):
        raise UserError(
            f"target_mode='train' predicts with the heads in training mode, in which "
            f'{type(model).__name__} makes denoising queries of true boxes, which a synthetic '
            "sample has none of: use target_mode='eval'."
        )
    synchronised = [n for n, m in model.named_modules() if isinstance(m, nn.SyncBatchNorm)]
    if target_mode == 'train' and synchronised and get_world_size() > 1:
        raise UserError(
            f"target_mode='train' would wait for other processes in {synchronised[0]} "
            "(SyncBatchNorm), which may have no synthetic sample: use target_mode='eval', or BN."
        )


def check_interval(runner, interval: int, interval_from: str) -> None:
    """Updates of theta_C that count within an epoch need epochs, and long enough ones.

    Raises:
        ValueError: There are none, or theta_C would never be updated.
    """
    if interval_from != 'epoch':
        return
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        raise UserError(
            "interval_from='epoch' counts the iterations of an epoch, but this run "
            "has none: use 'stage', or an EpochBasedTrainLoop."
        )
    steps = len(runner.train_dataloader) // max(getattr(runner.optim_wrapper, '_accumulative_counts', 1), 1)
    if steps <= interval:
        raise UserError(
            f"interval={interval} with interval_from='epoch' never updates theta_C in "
            f'epochs of {steps} steps of the optimizer: lower it, or use '
            "interval_from='stage'."
        )


def to_iterations(runner, count: int, by_epoch: bool, name: str) -> int:
    """Converts a setting in epochs or iterations to iterations.

    Raises:
        ValueError: A count of iterations that ends inside an epoch of an epoch-based run, whose
            checkpoints cannot be resumed there.
    """
    loader = runner.train_dataloader
    length = len(loader)
    if isinstance(loader.batch_sampler.sampler, InfiniteSampler):  # its length is that of the data
        length = math.ceil(length / get_world_size())
    if by_epoch:
        return count * length
    if isinstance(runner.train_loop, EpochBasedTrainLoop) and count % length:
        raise UserError(
            f'{name}={count} iterations end inside an epoch of {length}, where MMEngine cannot '
            f'resume: give a multiple of {length}, or set by_epoch=True and count epochs.'
        )
    return count
