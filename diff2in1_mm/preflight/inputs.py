"""Whether the data of a run are what its model and metrics expect, told in one sentence where they are not."""

import os.path as osp
from collections.abc import Iterable
from typing import Any

import torch.nn as nn
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import HOOKS

from ..datasets.folders import check_folders
from ..datasets.readable import replaces_unreadable
from ..utils.configs import find_hook, type_name
from ..utils.errors import UserError
from ..utils.models import unwrapped
from .batches import name_unreadable_files, watch_batches
from .boxes import check_boxes
from .features import check_feature_cache
from .findings import Findings, on_main_process
from .image_headers import HeaderIndex
from .label_maps import check_labels
from .pictures import check_pictures
from .run import warn_of_ended_schedules

__all__ = [
    'CheckInputsHook',
    'check_data',
    'check_evaluated',
    'check_heads',
    'check_hook_data',
    'check_inputs',
    'watch_inputs',
]


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
    watch_inputs(runner)
    backbone: Any = getattr(model, 'backbone', None)
    if hasattr(backbone, 'check_normalisation'):
        backbone.check_normalisation(model.data_preprocessor)


def _check_data_sets(runner, model: BaseModel, num_samples: int) -> None:
    findings = Findings.of_config(runner.cfg)
    dataset = runner.train_dataloader.dataset
    check_heads(model)
    check_pictures(dataset, findings, _index_of(runner))
    check_labels(dataset, num_samples, _ignored_by_heads(model), findings)
    check_boxes(dataset, findings=findings)
    check_feature_cache(model, dataset, runner)
    if runner.val_loop is not None:
        check_evaluated(runner.val_loop, 'val_evaluator', findings, num_samples)


def _index_of(runner) -> HeaderIndex:
    return HeaderIndex(osp.join(runner.work_dir, 'image_headers.json'))


def watch_inputs(runner) -> None:
    """Has all later batches looked at, see :func:`watch_batches`; each process for itself.

    Args:
        runner: Whose loops are built.
    """
    model = unwrapped(runner)
    measured: dict[str, tuple[int, int]] = {}
    for option in ('train', 'val', 'test'):
        loop = getattr(runner, f'_{option}_loop')
        if loop is None or isinstance(loop, dict):  # not built
            continue
        dataset = loop.dataloader.dataset
        if not replaces_unreadable(dataset):
            name_unreadable_files(dataset)
        metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
        for name, ignored in _ignore_options(f'{option}_evaluator', metrics).items() if classes else ():
            measured[name] = len(classes), ignored
    learned = {
        option: (head.num_classes, label)
        for name, head in _heads(model)
        for option, label in _ignore_options(name, [head]).items()
    }
    watch_batches(model, learned, measured)


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
    check_pictures(dataset, findings, _index_of(loop.runner))
    check_labels(dataset, num_samples, _ignore_options(option, metrics), findings, learned=False)
    coco = [metric for metric in metrics if type(metric).__name__ == 'CocoMetric']
    masks = any('segm' in metric.metrics for metric in coco)
    check_boxes(dataset, findings=findings, masks=masks, evaluated=bool(coco))


def check_heads(model: BaseModel) -> None:
    """Refuses segmentation heads with a single class, which no label can tell from its background.

    Raises:
        ValueError: One sentence with what to change.
    """
    tasks = getattr(model, 'label_tasks', None) or getattr(model, 'label_task', None)
    if tasks and 'segmentation' not in tasks:  # they have no classes
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


def _heads(model: BaseModel) -> list[tuple[str, BaseModule]]:
    """The heads of MMSegmentation's models by the name of their options; cascades keep a list of heads."""
    found = []
    by_task = getattr(model, 'heads', None)
    if isinstance(by_task, nn.ModuleDict) and 'segmentation' in by_task:
        return [('model.heads.segmentation', by_task['segmentation'])]
    for name in ('decode_head', 'auxiliary_head'):
        head = getattr(model, name, None)
        heads = head if isinstance(head, nn.ModuleList) else [head]
        places = [f'[{i}]' for i in range(len(heads))] if len(heads) > 1 else ['']
        found += [(f'model.{name}{place}', h) for place, h in zip(places, heads) if h is not None]
    return found


def _ignored_by_heads(model: BaseModel) -> dict[str, int]:
    """The labels that MMSegmentation's heads ignore, by option; cascades keep a list of heads."""
    return {option: label for name, head in _heads(model) for option, label in _ignore_options(name, [head]).items()}


def _ignore_options(name: str, owners: Iterable) -> dict[str, int]:
    """``ignore_index`` of those that have one, by the option that sets it; None leaves it open."""
    owners = list(owners)
    places = [f'[{i}]' for i in range(len(owners))] if len(owners) > 1 else ['']
    return {
        f'`{name}{place}.ignore_index`': owner.ignore_index
        for place, owner in zip(places, owners)
        if getattr(owner, 'ignore_index', None) is not None
    }


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
