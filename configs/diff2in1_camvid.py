# The main job on real photographs: CamVid, 50 labelled images, on a CPU.
#
#   python tools/train_diffusion.py configs/diffusion_camvid.py --amp \
#       --work-dir work_dirs/diffusion_camvid
#   python tools/train.py configs/diff2in1_camvid.py
_base_ = ['./_base_/datasets/camvid.py', './_base_/diff2in1_runtime.py']

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        size=(192, 256),
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(
        type='DiffusionBackbone',
        # What tools/train_diffusion.py made of the unlabelled photographs.
        diffusion='work_dirs/diffusion_camvid/pipeline',
        taps='decoder',
        # Nothing but flips changes the images: each is run once.
        cached_images=1000),
    neck=dict(type='FPN', in_channels=[64, 96, 160], out_channels=64, num_outs=3),
    decode_head=dict(
        type='FPNHead',
        in_channels=[64, 64, 64],
        in_index=[0, 1, 2],
        feature_strides=[4, 8, 16],
        channels=64,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type='WeightedCrossEntropyLoss',
            # sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist:
            # a few classes fill most of a picture
            class_weight=[0.5, 0.5, 2.0, 0.5, 1.0, 0.5, 2.0, 2.0, 1.0, 2.0, 2.0])),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

# One synthetic image per real one.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SyntheticMixDataset',
        ratio=1.0,
        dataset={{_base_.train_dataloader.dataset}}))

max_iters = 1200
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        # With 200 the synthetic images cost more than they give (docs/results.md).
        warm_up=800,
        # theta_C's time constant, 50 iterations, has to fit the length of the stage.
        momentum=0.02,
        interval=1,
        student_view='same',
        creation=dict(
            T=300,
            steps=10,
            solver='dpmsolver++',
            condition=dict(type='Prompt'),
            scale=(256, 192),
            batch_size=4))
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
