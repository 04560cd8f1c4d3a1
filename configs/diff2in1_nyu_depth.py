# Depth of NYUv2: Stable Diffusion's four decoder maps under VPD's depth head, then synthetic
# images.
#
# NYUv2 is expected in MMSegmentation's layout (data/nyu); Stable Diffusion is downloaded from the
# hub on first use. Not run here.
_base_ = ['mmseg::_base_/datasets/nyu.py', './_base_/diff2in1_runtime.py']

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadDepth', max_depth=10.0),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomCrop', crop_size=(480, 480)),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSceneInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadDepth', max_depth=10.0),
    dict(type='PackSceneInputs')
]
model = dict(
    type='DepthMapEstimator',
    data_preprocessor=dict(
        type='SceneDataPreProcessor',
        size=(480, 480),
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True),
    backbone=dict(
        type='DiffusionBackbone',
        diffusion=dict(source='stable-diffusion-v1-5/stable-diffusion-v1-5', dtype='bf16'),
        taps='decoder'),
    decode_head=dict(
        type='DepthHead', max_depth=10.0, in_channels=[320, 640, 1280, 1280], embed_dim=192,
        feature_dim=1536, num_deconv_layers=3, num_deconv_filters=(32, 32, 32)),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(480, 480), stride=(160, 160), flip=True))

# One synthetic image per real one.
train_dataloader = dict(
    num_workers=4,
    dataset=dict(
        _delete_=True,
        type='SyntheticMixDataset',
        ratio=1.0,
        dataset=dict(
            type='NYUDataset',
            data_root={{_base_.data_root}},
            data_prefix=dict(img_path='images/train', depth_map_path='annotations/train'),
            pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='DepthErrors', max_depth=10.0, crop='nyu_eigen')
test_evaluator = val_evaluator

max_iters = 40000
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=25000,
        # m = 0.998 every 10 iterations, in MMEngine's convention
        momentum=0.002,
        interval=10,
        student_view='same',  # 'strong': better with 10 rooms (docs/rooms.md)
        creation=dict(
            T=400,
            steps=10,
            solver='dpmsolver++',
            condition=dict(type='Prompt'),
            batch_size=8))
]

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=3e-2, by_epoch=False, begin=0, end=12000),
    dict(type='PolyLR', power=0.9, eta_min=3e-5, by_epoch=False, begin=12000, end=max_iters)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=4000)
visualizer = dict(type='SceneLocalVisualizer')
