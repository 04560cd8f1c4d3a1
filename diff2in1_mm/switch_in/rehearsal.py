"""The run of a switched config, shortened: MMEngine's Runner, four rendered rooms, the embedded diffusion model."""

import gc
import math
import os.path as osp
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from ..datasets.rooms.furniture import CLASSES, THINGS
from ..launch.processes import replace_sync_bn
from ..store.store import SyntheticStore
from ..utils.errors import UserError
from .apart import continued, sentence_of
from .built import WEIGHTS, load, loads_masks
from .fitting import fit_model
from .options import WAYS, SwitchOptions
from .python_text import part
from .rewrite import switched_text
from .zoo import family_of, path_of

__all__ = ['RUN_KEYS', 'rehearsals', 'rehearse', 'rehearsed']

RUN_KEYS = ('config', 'family', 'iterations', 'said', 'seconds')
_SIDES = (64, 320)  # of rooms, in pixels: SSD and DETR's kind need more places on their maps
_SPLIT = 'few'  # the name of the rooms


def rehearsals(ways: Mapping[str, str], path: str, options: SwitchOptions, iterations: int, workers: int) -> None:
    """Runs configs for a few iterations, each in a process of its own.

    Args:
        ways (Mapping): The way of :data:`WAYS` of each config, by its name.
        path (str): File that gets a line for each: ``iterations`` that were run, 0 where ``said`` tells what failed.
        options (SwitchOptions): What the ways have in common; the diffusion model is the embedded one.
        iterations (int): See :func:`rehearse`.
        workers (int): Processes at a time.
    """
    options = replace(options, diffusion='diff2in1_mm/rooms', dtype='fp32', T=None, warm_up=None)
    work = partial(_in_turn, ways=ways, options=options, iterations=iterations)
    continued(path, [[name] for name in ways], work, lambda name, said: _record(name, 0, said, 0), workers)


def _in_turn(
    group: Sequence[str], ways: Mapping[str, str], options: SwitchOptions, iterations: int
) -> Iterator[dict[str, Any]]:
    for name in group:
        begin, done, said = time.monotonic(), iterations, ''
        try:
            _switched_and_run(name, replace(options, **WAYS[ways[name]]), iterations)
        except Exception as error:
            done, said = 0, f'the run fails: {sentence_of(error)}'
        yield _record(name, done, said, time.monotonic() - begin)


def _record(name: str, iterations: int, said: str, seconds: float) -> dict[str, Any]:
    return dict(zip(RUN_KEYS, (name, family_of(name), iterations, said, round(seconds, 1))))


def _switched_and_run(name: str, options: SwitchOptions, iterations: int) -> None:
    path = path_of(name)
    cfg = load(path)
    fit = fit_model(cfg, options, trial=False)
    if fit.task not in ('segmentation', 'instances'):
        raise UserError(f'{name} is of {fit.task} labels, which rendered rooms do not have.')
    for side in _SIDES:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, 'switched.py')
            out.write_text(switched_text(cfg, path, str(out), options, fit), encoding='utf-8')
            try:
                return rehearse(Config.fromfile(out), fit.task, iterations, folder, side)
            except torch.cuda.OutOfMemoryError:
                raise
            except (RuntimeError, AssertionError):  # of torch and the libraries, where images are too small
                if side == _SIDES[-1]:
                    raise
        gc.collect()  # the first run's model


def rehearse(cfg: Config, task: str, iterations: int, folder: str, side: int = _SIDES[0]) -> None:
    """Trains a model on real images, makes samples, trains it on both with theta_C's labels, and saves it.

    The first half of the iterations is the warm-up. The store, the checkpoint and the rooms lie in ``folder``.

    Args:
        cfg (Config): Switched; changed.
        task (str): 'segmentation' or 'instances'.
        iterations (int): At least 2.
        folder (str): That is there.
        side (int): Height and width of the rooms, in pixels. Default 64.

    Raises:
        ValueError: The run left no samples, no checkpoint, or weights that are no numbers.
        Exception: Whatever a step of the run raises.
    """
    runner = Runner.from_cfg(rehearsed(cfg, task, iterations, folder, side))
    runner.train()
    if not len(SyntheticStore(osp.join(folder, 'store'))):
        raise UserError('the run made no synthetic samples.')
    if not osp.exists(osp.join(folder, f'iter_{iterations}.pth')):
        raise UserError('the run saved no checkpoint.')
    if not all(math.isfinite(p.sum().item()) for p in runner.model.parameters()):
        raise UserError('the run left weights that are no finite numbers.')


def rehearsed(cfg: Config, task: str, iterations: int, folder: str, side: int = _SIDES[0]) -> Config:
    """A switched config with other data, classes and schedule, without weights to start from and validation.

    The model is as large as it was, but for its last layers; its optimizer and theta_C are the config's own.

    Args:
        cfg (Config): See :func:`rehearse`.
        task (str): See :func:`rehearse`.
        iterations (int): See :func:`rehearse`.
        folder (str): See :func:`rehearse`.
        side (int): See :func:`rehearse`.
    """
    masks = loads_masks(cfg)
    classes = len(CLASSES) if task == 'segmentation' else len(THINGS)
    _change(cfg.model, classes, side)
    replace_sync_bn(cfg.model)
    semantic = part(cfg.model, 'roi_head').get('semantic_head')
    if semantic:
        semantic.num_classes = len(CLASSES)  # of label maps, beside those of objects
    dataset = _label_maps(cfg) if task == 'segmentation' else _objects(masks, bool(semantic), side)
    dataset.update(data_root=osp.join(folder, 'rooms'), split=_SPLIT, count=4, size=(side, side))
    hook = cfg.custom_hooks[-1]
    hook.update(warm_up=iterations // 2, confidence=0.0)  # few iterations make nobody sure
    hook.creation.update(steps=1, batch_size=2, scale=(side, side))
    hook.creation.pop('label_scale', None)
    if task == 'instances':
        hook.labelling = dict(allow_empty=True)
    wrapper = dict(cfg.optim_wrapper, type='OptimWrapper')
    for key in ('accumulative_counts', 'loss_scale', 'dtype'):
        wrapper.pop(key, None)
    wrapper['optimizer'] = dict(wrapper['optimizer'], lr=1e-4)  # the first steps of a schedule
    settings = dict(
        work_dir=folder,
        launcher='none',
        load_from=None,
        resume=False,
        experiment_name=osp.basename(folder),
        log_level='WARNING',
        optim_wrapper=wrapper,
        param_scheduler=None,
        auto_scale_lr=None,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations + 1),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type='InfiniteSampler', shuffle=True),
            dataset=dict(type='SyntheticMixDataset', ratio=1.0, store=osp.join(folder, 'store'), dataset=dataset),
        ),
        custom_hooks=[hook],
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=iterations)),
        log_processor=dict(by_epoch=False),
    )
    for split in ('val', 'test'):
        settings.update({f'{split}_{part}': None for part in ('dataloader', 'cfg', 'evaluator')})
    for name, value in settings.items():
        cfg[name] = value  # Config.update would mix them with what was there
    return cfg


def _change(value: Any, classes: int, side: int) -> None:
    """The numbers of classes of all heads, the sizes to which batches are padded, and no weights."""
    if isinstance(value, dict):
        for key, member in value.items():
            if key in WEIGHTS:
                value[key] = None
            elif key in ('num_classes', 'num_things_classes'):
                value[key] = classes
            elif key == 'class_weight' and isinstance(member, Sequence):
                value[key] = [1.0] * classes + [0.1] * (member[-1] == 0.1)  # of "no object", where there is one
            elif key == 'size' and str(value.get('type')).endswith(('DataPreProcessor', 'BatchFixedSizePad')):
                value[key] = (side, side)
            else:
                _change(member, classes, side)
    elif isinstance(value, (list, tuple)):
        for member in value:
            _change(member, classes, side)


def _label_maps(cfg: Config) -> dict[str, Any]:
    edges = [dict(type='GenerateEdge', edge_width=4)] if 'PIDHead' in str(cfg.model) else []
    steps = [dict(type='LoadAnnotations'), *edges, dict(type='RandomFlip', prob=0.5), dict(type='PackSegInputs')]
    return dict(type='RoomsDataset', pipeline=[dict(type='LoadImageFromFile'), *steps])


def _objects(masks: bool, maps: bool, side: int) -> dict[str, Any]:
    return dict(
        type='RoomsDetDataset',
        data_prefix=dict(img=f'images/{_SPLIT}', **(dict(seg=f'annotations/{_SPLIT}') if maps else {})),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=masks, with_seg=maps),
            dict(type='Resize', scale=(side, side), keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    )
