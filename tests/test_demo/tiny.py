"""Small models as a user has them: a config file, a checkpoint, photographs."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

CLASSES = ('road', 'sky', 'tree')
# The tiny text encoder takes few letters.
SHORT = dict(road='r', sky='s', tree='t')
PALETTE = [[128, 64, 128], [70, 130, 180], [107, 142, 35]]

SEGMENTOR = """
_base_ = __import__('diff2in1_mm').config_path('_base_/diff2in1_runtime.py')
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 48), keep_ratio=False),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')]
test_pipeline = pipeline
metainfo = dict(classes={classes!r}, palette={palette!r})
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='BaseSegDataset', data_root='data', img_suffix='.png', seg_map_suffix='.png',
                 data_prefix=dict(img_path='images', seg_map_path='annotations'),
                 metainfo=metainfo, pipeline=pipeline))
test_evaluator = dict(type='IoUMetric')
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3,
                           bgr_to_rgb=True, pad_val=0, seg_pad_val=255),
    backbone=dict(type='DiffusionBackbone', diffusion={pipeline!r}),
    decode_head=dict(type='FCNHead', in_channels=16, channels=8, in_index=0, num_convs=1,
                     num_classes=3, norm_cfg=dict(type='SyncBN'), align_corners=False),
    test_cfg=dict(mode='whole'))
custom_hooks = [dict(type='SelfImprovingHook', warm_up=1, creation=dict(
    T=300, steps=3, condition=dict(type='ComposedCaption', scene='x', names={names!r})))]
"""

DETECTOR = """
_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['diff2in1_mm'], allow_failed_imports=False)
test_dataloader = dict(dataset=dict(
    type='CocoDataset', ann_file='', metainfo=dict(classes={classes!r}, palette={palette!r}),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 48), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                                              'scale_factor'))]))
model = dict(
    type='FCOS',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3,
                           bgr_to_rgb=True, pad_size_divisor=16),
    backbone=dict(type='DiffusionBackbone', diffusion={pipeline!r}, taps='decoder'),
    neck=dict(type='FPN', in_channels=[16, 24, 32], out_channels=8, num_outs=3),
    bbox_head=dict(type='FCOSHead', num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1,
                   strides=[4, 8, 16], regress_ranges=((-1, 16), (16, 32), (32, 1e8)),
                   norm_cfg=None),
    test_cfg=dict(nms_pre=50, min_bbox_size=0, score_thr=0.0, max_per_img=5,
                  nms=dict(type='nms', iou_threshold=0.5)))
"""


def write_config(folder: Path, pipeline: str, text: str = SEGMENTOR) -> str:
    """A config file of one of the models above."""
    path = folder / 'config.py'
    path.write_text(text.format(pipeline=pipeline, classes=CLASSES, palette=PALETTE, names=SHORT))
    return str(path)


def write_checkpoint(config: str, path: Path) -> str:
    """What a run saves of such a model, with weights that make it predict every class."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES, palette=PALETTE))), path
    )
    return str(path)


def write_photo(path: Path, seed: int = 0, size=(60, 90)) -> str:
    """A smooth coloured picture of (height, width) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))
    return str(path)
