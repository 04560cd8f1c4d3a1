"""Configs of tiny runs on normals and depth: rendered rooms and the tiny diffusion model."""

from mmengine.config import Config

from .tiny_runs import config

SIZE = (32, 32)
LOADERS = dict(normals=dict(type='LoadNormals'), depth=dict(type='LoadDepth', max_depth=20.0))
METRICS = dict(normals=dict(type='NormalMetric'), depth=dict(type='DepthErrors', max_depth=20.0))
FPN = dict(
    in_channels=[8] * 3,
    in_index=[0, 1, 2],
    feature_strides=[4, 8, 16],
    channels=8,
    dropout_ratio=0.0,
    align_corners=False,
    norm_cfg=dict(type='BN', requires_grad=True),
)
HEADS = dict(
    normals=('NormalEstimator', dict(type='FPNNormalHead', **FPN)),
    depth=('DepthMapEstimator', dict(type='FPNDepthHead', max_depth=20.0, **FPN)),
)
AGGREGATED = [4, 6, 8, 12, 32]


def rooms(root, task, split='train', count=6, **options):
    """The data set's config; the rooms are rendered on first use."""
    flip = [dict(type='RandomFlip', prob=0.5)] if split == 'train' else []
    return dict(
        type='RoomsDataset',
        data_root=str(root),
        split=split,
        size=SIZE,
        count=count,
        pipeline=[dict(type='LoadImageFromFile'), LOADERS[task], *flip, dict(type='PackSceneInputs')],
        **options,
    )


def scene_config(root, work_dir, task, pipeline_folder, bae=False, hook=None, **kwargs) -> Config:
    """A run with warm-up, creation and self-improvement; ``bae``: the released neck and head."""
    hook = dict(dict(warm_up=3, momentum=0.2, creation=dict(T=300, steps=2, batch_size=4)), **(hook or {}))
    cfg = config(root, work_dir, hook=hook, **kwargs)
    cfg.model.type, head = HEADS[task]
    cfg.model.data_preprocessor.type = 'SceneDataPreProcessor'
    backbone = dict(type='DiffusionBackbone', diffusion=str(pipeline_folder))
    neck = dict(type='FPN', in_channels=[16, 24, 32], out_channels=8, num_outs=3)
    if bae:
        # a fourth level, as Stable Diffusion has
        backbone.update(taps='all', out_channels=[16, 16, 24, 32], out_strides=[4, 8, 16, 32])
        neck = dict(type='DiffusionAggregator', in_channels=[16, 16, 24, 32], out_channels=AGGREGATED)
        head = dict(type='NormalHead', in_channels=AGGREGATED, channels=128)
    cfg.model.backbone, cfg.model.neck, cfg.model.decode_head = backbone, neck, head
    cfg.train_dataloader.dataset.dataset = rooms(root, task)
    for name in ('val', 'test'):
        cfg[f'{name}_dataloader'].dataset = rooms(root, task, 'val', 4)
        cfg[f'{name}_evaluator'] = METRICS[task]
    return cfg
