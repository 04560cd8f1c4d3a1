# Labels, depth, normals, boundaries and saliency from one set of features, on the embedded default:
# rendered rooms, and the small diffusion model of them that comes with the package. Every synthetic
# sample has the labels of all five. Nothing is downloaded.
#
#   python tools/train.py configs/diff2in1_rooms_multitask.py
_base_ = ['./diff2in1_rooms.py']

labels = [
    dict(type='LoadAnnotations'),
    dict(type='LoadDepth', max_depth=20.0),
    dict(type='LoadNormals'),
    dict(type='LoadBoundaries'),
    dict(type='LoadSaliency')
]
train_pipeline = [
    dict(type='LoadImageFromFile'), *labels,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSceneInputs')
]
test_pipeline = [dict(type='LoadImageFromFile'), *labels, dict(type='PackSceneInputs')]
of_fpn = dict(
    in_channels=[64, 64, 64, 64],
    in_index=[0, 1, 2, 3],
    feature_strides=[4, 8, 16, 32],
    channels=32,  # half of the label maps' head: a step of five tasks is to stay near that of one
    dropout_ratio=0.1,
    norm_cfg=dict(type='BN', requires_grad=True),
    align_corners=False)
of_two = dict(type='FPNHead', num_classes=2, out_channels=1, **of_fpn)
model = dict(
    type='MultiTaskEstimator',
    data_preprocessor=dict(type='SceneDataPreProcessor'),
    decode_head=None,
    heads=dict(
        segmentation={{_base_.model.decode_head}},
        depth=dict(type='FPNDepthHead', max_depth=20.0, **of_fpn),
        normals=dict(type='FPNNormalHead', **of_fpn),
        boundaries=dict(
            threshold=0.6,  # about where odsF is best: the loss raises what is rare
            loss_decode=dict(type='BalancedBCELoss', loss_weight=5.0),
            **of_two),
        saliency=dict(
            threshold=0.5, loss_decode=dict(type='BalancedBCELoss', loss_weight=2.0), **of_two)))
dataset_type = 'RoomsMultiTaskDataset'
train_dataloader = dict(dataset=dict(dataset=dict(type=dataset_type, pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(type=dataset_type, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='MultiTaskEvaluator',
    metrics=[
        dict(type='IoUMetric', iou_metrics=['mIoU'], prefix='segmentation'),
        dict(type='DepthErrors', max_depth=20.0, prefix='depth'),
        dict(type='NormalMetric', prefix='normals'),
        dict(type='BoundaryF', thresholds=19, prefix='boundaries'),
        dict(type='SaliencyF', prefix='saliency')
    ])
test_evaluator = val_evaluator
visualizer = dict(type='SceneLocalVisualizer')
