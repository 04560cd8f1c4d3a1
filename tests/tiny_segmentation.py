"""A small segmentation task with a DiffusionBackbone, shared by the tests of creation."""

import cv2
import numpy as np
import torch
from mmengine.registry import DATASETS, MODELS

import diff2in1_mm  # noqa: F401

CLASSES = ('sky', 'tree', 'road')
PALETTE = [[60, 120, 220], [30, 160, 40], [120, 110, 100]]
# settings of a creation that takes a second
FAST = dict(T=300, steps=3, batch_size=2)
LOAD = [dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')]


def make_images(root, count=7):
    """Bands of noise, 48 x 32 pixels but for the last image, and their label maps."""
    rng = np.random.default_rng(0)
    for folder in ('img', 'ann'):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        height, width = (32, 48) if i < count - 1 else (40, 24)
        labels = np.sort(rng.integers(0, 3, height))[:, None].repeat(width, 1).astype(np.uint8)
        image = np.array(PALETTE)[labels] + rng.normal(0, 30, (height, width, 3))
        cv2.imwrite(str(root / f'img/{i}.png'), image.clip(0, 255).astype(np.uint8)[..., ::-1])
        cv2.imwrite(str(root / f'ann/{i}.png'), labels)
    return root


def dataset_config(root, **changes):
    return dict(
        type='mmseg.BaseSegDataset',
        data_root=str(root),
        img_suffix='.png',
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        metainfo=dict(classes=CLASSES, palette=PALETTE),
        pipeline=[*LOAD, dict(type='mmseg.PackSegInputs')],
        **changes,
    )


def build_dataset(root, **changes):
    return DATASETS.build(dataset_config(root, **changes))


def model_config(pipeline_folder, classes=3, test_cfg=None, **backbone):
    return dict(
        type='mmseg.EncoderDecoder',
        data_preprocessor=dict(
            type='mmseg.SegDataPreProcessor',
            mean=[127.5] * 3,
            std=[127.5] * 3,
            bgr_to_rgb=True,
            size=(32, 48),
            test_cfg=test_cfg,
        ),
        backbone=dict(type='DiffusionBackbone', diffusion=str(pipeline_folder), **backbone),
        decode_head=dict(
            type='mmseg.FCNHead',
            in_channels=[16, 24, 32],
            in_index=[0, 1, 2],
            input_transform='resize_concat',
            channels=8,
            num_convs=1,
            num_classes=classes,
            norm_cfg=dict(type='BN'),
            align_corners=False,
        ),
        test_cfg=dict(mode='whole'),
    )


def build_model(pipeline_folder, **changes):
    torch.manual_seed(0)
    return MODELS.build(model_config(pipeline_folder, **changes))
