"""What a run with :class:`SelfImprovingHook` must be like, told in one sentence where it is not."""

import math
import os.path as osp
from collections.abc import Iterable, Sequence

import torch.nn as nn
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, FlexibleRunner

from ..datasets.folders import check_folders
from ..hooks.checkpoint import AtomicCheckpointHook
from ..utils.configs import find_hook, type_name
from ..utils.errors import UserError
from ..utils.models import shares_features, unwrapped
from ..utils.optional import is_installed
from .boxes import check_boxes
from .findings import Findings, on_main_process
from .image_headers import HeaderIndex, check_headers
from .label_maps import check_labels

__all__ = [
    'check_checkpoints',
    'check_class_weights',
    'check_evaluated',
    'check_heads',
    'check_hooks',
    'check_inputs',
    'check_interval',
    'check_run',
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
    if runner._randomness_cfg.get('seed') is None:
        runner.logger.warning(
            'This run draws a seed of its own, and would draw another one when it resumes, so that '
            'its batches differ: set randomness = dict(seed=0) in the config.'
        )


def check_inputs(runner, num_samples: int = 64) -> None:
    """Looks at labels, boxes and normalisation before the first iteration.

    A label outside the classes otherwise shows as a device-side assertion hours later, or never;
    images outside [-1, 1] only as poor features. Training ignores what the heads' ``ignore_index``
    says, and validation what the metrics' says; the data set's own counts where there is none.

    Args:
        runner: Of the training run.
        num_samples (int): How many annotation maps, spread over each data set.

    Raises:
        FileNotFoundError, ValueError: One sentence that names the file or setting.
    """
    model = unwrapped(runner)
    on_main_process(lambda: _check_data_sets(runner, model, num_samples))
    backbone = getattr(model, 'backbone', None)
    if hasattr(backbone, 'check_normalisation'):
        backbone.check_normalisation(model.data_preprocessor)


def _check_data_sets(runner, model: nn.Module, num_samples: int) -> None:
    findings = Findings.of_config(runner.cfg)
    dataset = runner.train_dataloader.dataset
    check_heads(model)
    check_labels(dataset, num_samples, _ignored_by_heads(model), findings)
    check_headers(dataset, findings, _index_of(runner))
    check_boxes(dataset, findings=findings)
    if runner.val_loop is not None:
        check_evaluated(runner.val_loop, 'val_evaluator', findings, num_samples)


def _index_of(runner) -> HeaderIndex:
    return HeaderIndex(osp.join(runner.work_dir, 'image_headers.json'))


def check_evaluated(loop, option: str, findings: Findings, num_samples: int = 64) -> None:
    """Looks at the data of validation or test as at those of the training.

    Args:
        loop: That of MMEngine which evaluates, built.
        option (str): Of the config that names its metrics.
        findings (Findings): What refuses and warns.
        num_samples (int): How many annotation maps, spread over each data set.

    Raises:
        FileNotFoundError, ValueError: One sentence that names the file or setting.
    """
    metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
    dataset = loop.dataloader.dataset
    check_labels(dataset, num_samples, _ignore_options(option, metrics), findings, learned=False)
    check_headers(dataset, findings, _index_of(loop.runner))
    coco = [metric for metric in metrics if type(metric).__name__ == 'CocoMetric']
    masks = any('segm' in metric.metrics for metric in coco)
    check_boxes(dataset, findings=findings, masks=masks, evaluated=bool(coco))


def check_heads(model: nn.Module) -> None:
    """Refuses segmentation heads with a single class, which no label can tell from its background.

    Raises:
        ValueError: One sentence with what to change.
    """
    if getattr(model, 'label_tasks', None) or getattr(model, 'label_task', None):  # they have no classes
        return
    for name, head in _heads(model):
        losses = getattr(head, 'loss_decode', None)
        losses = losses if isinstance(losses, nn.ModuleList) else [losses]
        softmax = [loss for loss in losses if getattr(loss, 'use_sigmoid', True) is False]
        if getattr(head, 'num_classes', 2) == 1 or (getattr(head, 'out_channels', 2) == 1 and softmax):
            raise UserError(
                f'{name} has num_classes={head.num_classes} and out_channels={head.out_channels}, with which nothing '
                'is learned or labels leave the classes: for one class and its background list both in `metainfo`, '
                'and set num_classes=2, and for one channel out_channels=1 with a threshold and '
                "loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)."
            )


def _heads(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The heads of MMSegmentation's models by the name of their options; cascades keep a list of heads."""
    found = []
    for name in ('decode_head', 'auxiliary_head'):
        head = getattr(model, name, None)
        heads = head if isinstance(head, nn.ModuleList) else [head]
        places = [f'[{i}]' for i in range(len(heads))] if len(heads) > 1 else ['']
        found += [(f'model.{name}{place}', h) for place, h in zip(places, heads) if h is not None]
    return found


def _ignored_by_heads(model: nn.Module) -> dict[str, int]:
    """The labels that MMSegmentation's heads ignore, by option; cascades keep a list of heads."""
    options: dict[str, int] = {}
    for name in ('decode_head', 'auxiliary_head'):
        head = getattr(model, name, None)
        heads = head if isinstance(head, nn.ModuleList) else [head]
        options.update(_ignore_options(f'model.{name}', heads))
    return options


def _ignore_options(name: str, owners: Iterable) -> dict[str, int]:
    """``ignore_index`` of those that have one, by the option that sets it; None leaves it open."""
    owners = list(owners)
    places = [f'[{i}]' for i in range(len(owners))] if len(owners) > 1 else ['']
    return {
        f'`{name}{place}.ignore_index`': owner.ignore_index
        for place, owner in zip(places, owners)
        if getattr(owner, 'ignore_index', None) is not None
    }


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


def check_views(model: nn.Module, student_view: str, target_mode: str) -> None:
    """Refuses settings that this model cannot follow.

    Raises:
        ValueError: One sentence with what to change.
    """
    if student_view == 'feature_dropout' and not shares_features(model.backbone):
        raise UserError(
            "student_view='feature_dropout' drops channels of a frozen DiffusionBackbone's "
            f"features, and {type(model.backbone).__name__} has none: use 'same' or 'strong'."
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


def check_class_weights(model: nn.Module, confidence: None | float | Sequence[float]) -> None:
    """Refuses thresholds of pixels together with class weights that MMSegmentation cannot ignore.

    Raises:
        ValueError: A ``CrossEntropyLoss`` would fail on the first ignored pixel.
    """
    if not confidence or not is_installed('mmseg'):
        return
    from mmseg.models.losses import CrossEntropyLoss

    for name, loss in model.named_modules():
        if (
            type(loss) is CrossEntropyLoss
            and loss.class_weight is not None
            and loss.reduction == 'mean'
            and not (loss.use_sigmoid or loss.use_mask)
        ):
            raise UserError(
                f"{name}: MMSegmentation's CrossEntropyLoss with class_weight fails on pixels that "
                f'are ignored, and confidence={confidence} ignores some: give it '
                "type='WeightedCrossEntropyLoss'."
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


def check_data(cfg: Config, *loaders: str) -> None:
    """Looks for the folders of data sets before anything is built.

    Args:
        cfg (Config): Of the run.
        loaders (str): Such as 'train_dataloader'.

    Raises:
        FileNotFoundError: Names the folder or file, and the option to correct.
    """
    for loader in loaders:
        dataset = (cfg.get(loader) or {}).get('dataset')
        if isinstance(dataset, dict):
            check_folders(dataset)


def check_hook_data(cfg: Config) -> None:
    """Whether the training data can serve what ``SelfImprovingHook`` creates.

    Raises:
        ValueError: One sentence that says what to wrap.
    """
    hook = find_hook(cfg, 'SelfImprovingHook')
    if hook is None or hook.get('creation') is None:
        return
    kind = type_name(cfg.train_dataloader.dataset)
    if kind != 'SyntheticMixDataset':
        raise UserError(
            f'SelfImprovingHook mixes synthetic samples into the training data, but {kind} cannot '
            "serve them: set train_dataloader.dataset = dict(type='SyntheticMixDataset', "
            'dataset=<the present one>), or creation=None in the hook to keep to real data.'
        )


@HOOKS.register_module()
class CheckInputsHook(Hook):
    """:func:`check_inputs` for runs without ``SelfImprovingHook``, which does the same.

    Args:
        num_samples (int): How many annotation maps, spread over each data set. Default 64.
    """

    def __init__(self, num_samples: int = 64) -> None:
        self.num_samples = num_samples

    def before_train(self, runner) -> None:
        check_inputs(runner, self.num_samples)
        warn_of_ended_schedules(runner)
