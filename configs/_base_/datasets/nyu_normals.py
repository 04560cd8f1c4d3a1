# NYUv2 normals in the layout of Bae et al., 512 x 512, no augmentation (the released recipe).
dataset_type = 'NYUNormalsDataset'
data_root = 'data/nyu_normals'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadNormals'),
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    dict(type='PackSceneInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    dict(type='LoadNormals'),
    dict(type='PackSceneInputs')
]
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        captions='caption',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split='test', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='NormalMetric')
test_evaluator = val_evaluator
