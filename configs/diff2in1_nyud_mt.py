# NYUD-MT: labels, depth, normals and boundaries from Stable Diffusion 1.5 under InvPT's decoder, then
# synthetic images with the labels of all four.
#
# The data set is expected in data/NYUDv2 (docs/multitask.md); Stable Diffusion is downloaded from
# the hub on first use. Not run here.
_base_ = ['./_base_/models/invpt_sd15.py', './_base_/diff2in1_multitask_40k.py']

dataset_type, data_root = 'NYUDMTDataset', 'data/NYUDv2'
labels = [
    dict(type='LoadSceneAnnotations'),
    dict(type='LoadDepth', max_depth=10.0),
    dict(type='LoadNormals'),
    dict(type='LoadBoundaries')
]
train_pipeline = [
    dict(type='LoadImageFromFile'), *labels,
    dict(type='ScaleScene', ratio_range=(0.5, 2.0)),
    dict(type='RandomCrop', crop_size=(448, 576)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSceneInputs')
]
test_pipeline = [dict(type='LoadImageFromFile'), *labels, dict(type='PackSceneInputs')]
model = dict(
    data_preprocessor=dict(size=(448, 576)),
    heads=dict(
        segmentation=dict(type='FPNHead', num_classes=40, **_base_.of_one_map),
        depth=dict(type='FPNDepthHead', max_depth=10.0, **_base_.of_one_map),
        normals={{_base_.normals_head}},
        boundaries={{_base_.boundaries_head}}))

# One synthetic image per real one.
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='SyntheticMixDataset',
        ratio=1.0,
        dataset=dict(type=dataset_type, data_root=data_root, split='train', pipeline=train_pipeline)))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split='val', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='MultiTaskEvaluator',
    metrics=[
        dict(type='MapIoU', field='sem_seg', iou_metrics=['mIoU'], prefix='segmentation'),
        dict(type='DepthErrors', max_depth=10.0, prefix='depth'),
        dict(type='NormalMetric', prefix='normals'),
        dict(type='BoundaryF', max_distance=0.011, prefix='boundaries')
    ])
test_evaluator = val_evaluator
