# Surface normals on the embedded default: rendered rooms, and the small diffusion model of them
# that comes with the package. Nothing is downloaded.
#
#   python tools/train.py configs/diff2in1_rooms_normals.py
_base_ = ['./diff2in1_rooms.py']

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadNormals'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSceneInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadNormals'),
    dict(type='PackSceneInputs')
]
model = dict(
    type='NormalEstimator',
    data_preprocessor=dict(type='SceneDataPreProcessor'),
    decode_head=dict(
        _delete_=True,
        type='FPNNormalHead',
        in_channels=[64, 64, 64, 64],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=64,
        dropout_ratio=0.1,
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False))
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='NormalMetric')
test_evaluator = val_evaluator
visualizer = dict(type='SceneLocalVisualizer')
