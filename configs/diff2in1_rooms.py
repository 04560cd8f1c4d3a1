# The whole system on the embedded default: rendered rooms, and the small diffusion model of them
# that comes with the package. Nothing is downloaded.
#
#   python tools/train.py configs/diff2in1_rooms.py
_base_ = ['./_base_/datasets/rooms.py', './_base_/diff2in1_runtime.py']

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        size=(128, 128),
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(
        type='DiffusionBackbone',
        diffusion='diff2in1_mm/rooms',
        taps='all',
        # Nothing but flips changes the images: each is run once.
        cached_images=2000),
    neck=dict(type='FPN', in_channels=[192, 288, 480, 608], out_channels=64, num_outs=4),
    decode_head=dict(
        type='FPNHead',
        in_channels=[64, 64, 64, 64],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=64,
        dropout_ratio=0.1,
        num_classes=12,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type='WeightedCrossEntropyLoss',
            # walls, floor and ceiling fill most of a picture
            class_weight=[0.5] * 3 + [2.0] * 9)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

# One synthetic image per real one.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SyntheticMixDataset',
        ratio=1.0,
        dataset={{_base_.train_dataloader.dataset}}))

max_iters = 600
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=400,
        # theta_C's time constant, 50 iterations, has to fit the length of the stage.
        momentum=0.02,
        interval=1,
        # other views cost more on Rooms (docs/rooms.md)
        student_view='same',
        creation=dict(
            T=400,
            steps=10,
            solver='dpmsolver++',
            condition=dict(type='OwnCaption'),
            scale=(128, 128),
            batch_size=10)),
    dict(type='GalleryHook')
]

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=1e-2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=50, end=max_iters)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=200))
