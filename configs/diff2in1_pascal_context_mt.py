# PASCAL-Context: labels, parts of persons, saliency, normals and boundaries from Stable Diffusion 1.5
# under InvPT's decoder, then synthetic images with the labels of all five.
#
# The data set is expected in data/PASCAL_MT (docs/multitask.md); Stable Diffusion is downloaded from
# the hub on first use. Not run here.
_base_ = ['./_base_/models/invpt_sd15.py', './_base_/diff2in1_multitask_40k.py']

dataset_type, data_root = 'PASCALContextMTDataset', 'data/PASCAL_MT'
labels = [
    dict(type='LoadSceneAnnotations'),
    dict(type='LoadParts'),
    dict(type='LoadSaliency'),
    dict(type='LoadNormals'),
    dict(type='LoadBoundaries')
]
train_pipeline = [
    dict(type='LoadImageFromFile'), *labels,
    dict(type='ScaleScene', ratio_range=(0.5, 2.0)),
    dict(type='RandomCrop', crop_size=(512, 512)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSceneInputs')
]
test_pipeline = [dict(type='LoadImageFromFile'), *labels, dict(type='PackSceneInputs')]
parts = ('none', 'head', 'torso', 'upper arm', 'lower arm', 'upper leg', 'lower leg')
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    heads=dict(
        segmentation=dict(type='FPNHead', num_classes=21, **_base_.of_one_map),
        parts=dict(
            type='FPNHead',
            num_classes=7,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0),
            **_base_.of_one_map),
        saliency={{_base_.saliency_head}},
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
        dict(type='MapIoU', classes=parts, iou_metrics=['mIoU'], prefix='parts'),
        dict(type='SaliencyF', prefix='saliency'),
        dict(type='NormalMetric', prefix='normals'),
        dict(type='BoundaryF', prefix='boundaries')
    ])
test_evaluator = val_evaluator
