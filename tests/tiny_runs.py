"""A whole run in a second: generated images, a two-convolution backbone, a one-layer head.

Also imported by the processes that tests start, through ``custom_imports``.
"""

import os
import os.path as osp
import time

import cv2
import numpy as np
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner

import diff2in1_mm  # noqa: F401
from diff2in1_mm.creation import stage as creation_stage
from diff2in1_mm.preflight import creation as preflight_creation
from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.models import modes_kept

CLASSES = ('sky', 'tree', 'road')
PALETTE = [[60, 120, 220], [30, 160, 40], [120, 110, 100]]


def make_images(root, count=8, size=32, seed=0):
    """Images of three coloured bands with noise, and their label maps, in two folders."""
    rng = np.random.default_rng(seed)
    for split in ('train', 'val'):
        for kind in ('img', 'ann'):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            edges = np.sort(rng.integers(4, size - 4, 2))
            labels = np.digitize(np.arange(size), edges)[:, None].repeat(size, 1)
            image = np.array(PALETTE)[labels] + rng.normal(0, 40, (size, size, 3))
            image = image.clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(root / 'img' / split / f'{i}.png'), image[..., ::-1])
            cv2.imwrite(str(root / 'ann' / split / f'{i}.png'), labels.astype(np.uint8))
    return root


@MODELS.register_module(force=True)
class TinyBackbone(nn.Module):
    """Trained; batch norm, so that there are buffers."""

    def __init__(self, channels=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1)
        )

    def forward(self, images):
        return (self.layers(images),)


@MODELS.register_module(force=True)
class FrozenBackbone(nn.Module):
    """What DiffusionBackbone promises, with a fixed convolution, counting the images it sees."""

    frozen = True

    def __init__(self, channels=8):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        # in no module's registry, as the frozen diffusion model
        self.frozen_weights = [torch.randn(channels, 3, 3, 3, generator=generator)]
        self.images_seen = 0
        self._served = None

    @torch.no_grad()
    def features(self, images):
        self.images_seen += len(images)
        weights = self.frozen_weights[0].to(images.device)
        maps = nn.functional.conv2d(images, weights, stride=2, padding=1)
        return (maps.tanh(),)

    def serve(self, features):
        from contextlib import contextmanager

        @contextmanager
        def serving():
            before, self._served = self._served, tuple(features)
            try:
                yield
            finally:
                self._served = before

        return serving()

    def forward(self, images):
        maps = self.features(images) if self._served is None else self._served
        assert len(maps[0]) == len(images), 'served rows of another batch'
        return maps


def tiny_create(model, dataset, settings, round, seed):
    """Stands for the creation stage: noisy copies, labelled by the model, into a real store."""
    rank, world_size = creation_stage.get_dist_info()
    root = dataset.store_root
    store = SyntheticStore.prepare(root, ['segmentation'], CLASSES, 'tiny', {})
    present = {record.id for record in store.records()}
    for source in range(rank, len(dataset.real), world_size):
        identity = store.sample_id(round, source, 0)
        if identity in present:
            continue
        info = dataset.source_info(source)
        image = cv2.imread(info['img_path'])[..., ::-1]
        noise = np.random.default_rng([seed, source]).normal(0, 10, image.shape)
        image = (image + noise).clip(0, 255).astype(np.uint8)
        with modes_kept(model), torch.no_grad():
            inputs = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().to(next(model.parameters()).device)
            meta = dict(img_shape=image.shape[:2], pad_shape=image.shape[:2])
            logits = model.eval().encode_decode((inputs - 127.5) / 127.5, [meta])
        time.sleep(float(os.environ.get('TINY_CREATE_SECONDS', 0)))
        store.add(
            SampleRecord(
                id=identity,
                round=round,
                source=source,
                source_path=info['img_path'],
                copy=0,
                seed=seed,
                T=1,
                steps=1,
                solver='noise',
                caption='',
                checkpoint='',
                quality={},
            ),
            image,
            dict(segmentation=logits.argmax(1)[0].to(torch.uint8).cpu().numpy()),
        )
    return 0


def use_tiny_create():
    creation_stage._create = tiny_create
    preflight_creation.check_creation = lambda *args: None


if 'TINY_CREATE_SECONDS' in os.environ:  # a process that a test started
    use_tiny_create()


def config(
    root,
    work_dir,
    iters=8,
    hook=None,
    backbone='TinyBackbone',
    mix=True,
    resume=False,
    batch=4,
    workers=0,
    amp=False,
    **more,
):
    """Config of a run; ``hook`` are arguments of SelfImprovingHook, None: no hook."""
    base = dict(
        type='mmseg.BaseSegDataset',
        data_root=str(root),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=dict(classes=CLASSES, palette=PALETTE),
        serialize_data=False,
    )
    load = [dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations', reduce_zero_label=False)]
    train = dict(
        base,
        data_prefix=dict(img_path='img/train', seg_map_path='ann/train'),
        pipeline=[*load, dict(type='mmseg.RandomFlip', prob=0.5), dict(type='mmseg.PackSegInputs')],
    )
    val = dict(
        base,
        data_prefix=dict(img_path='img/val', seg_map_path='ann/val'),
        test_mode=True,
        pipeline=[*load, dict(type='mmseg.PackSegInputs')],
    )
    if mix:
        train = dict(type='SyntheticMixDataset', dataset=train, ratio=1.0, store=osp.join(str(work_dir), 'store'))
    val_loader = dict(batch_size=4, num_workers=0, dataset=val, sampler=dict(type='DefaultSampler', shuffle=False))
    norm = dict(type='BN', requires_grad=True)
    optim = dict(type='Bf16OptimWrapper') if amp else dict(type='OptimWrapper')
    cfg = dict(
        default_scope='mmseg',
        work_dir=str(work_dir),
        resume=resume,
        launcher='none',
        custom_imports=dict(imports=['diff2in1_mm', 'tests.tiny_runs'], allow_failed_imports=False),
        experiment_name=f'{osp.basename(work_dir)}_{time.monotonic_ns()}',
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True, size=(32, 32)
            ),
            backbone=dict(type=backbone),
            decode_head=dict(
                type='FCNHead',
                in_channels=8,
                channels=8,
                in_index=0,
                num_convs=1,
                num_classes=3,
                dropout_ratio=0.1,
                norm_cfg=norm,
                align_corners=False,
            ),
            test_cfg=dict(mode='whole'),
        ),
        train_dataloader=dict(
            batch_size=batch, num_workers=workers, dataset=train, sampler=dict(type='InfiniteSampler', shuffle=True)
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=iters, val_interval=1000),
        optim_wrapper=dict(**optim, optimizer=dict(type='Adam', lr=0.01)),
        val_dataloader=val_loader,
        val_cfg=dict(type='ValLoop'),
        val_evaluator=dict(type='mmseg.IoUMetric', iou_metrics=['mIoU']),
        test_dataloader=val_loader,
        test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='mmseg.IoUMetric', iou_metrics=['mIoU']),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=2),
            checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=2),
        ),
        custom_hooks=[]
        if hook is None
        else [dict(type='SelfImprovingHook', **{**dict(warm_up=4, creation={}), **hook})],
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=0),
        log_level='WARNING',
    )
    cfg.update(more)
    return Config(cfg)


def train(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def hook_of(runner, name='SelfImprovingHook'):
    return next(hook for hook in runner.hooks if type(hook).__name__ == name)
