# Boxes and masks on the embedded default: rendered rooms, and the small diffusion model of them
# that comes with the package. Nothing is downloaded.
#
#   python tools/train.py configs/diff2in1_rooms_mask_rcnn.py
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', './_base_/datasets/rooms_instances.py',
    './_base_/diff2in1_detection_runtime.py'
]

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        _delete_=True,
        type='DiffusionBackbone',
        diffusion='diff2in1_mm/rooms',
        taps='all',
        # Nothing but flips changes the images: each is run once.
        cached_images=2000),
    neck=dict(in_channels=[192, 288, 480, 608], out_channels=64, num_outs=4),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(scales=[3], strides=[4, 8, 16, 32])),
    roi_head=dict(
        # mmcv's RoIAlign is slow on CPUs: one point per bin in place of up to nine
        bbox_roi_extractor=dict(
            out_channels=64, featmap_strides=[4, 8, 16, 32], roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=9),
        mask_roi_extractor=dict(
            out_channels=64, featmap_strides=[4, 8, 16, 32], roi_layer=dict(sampling_ratio=1)),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64, num_classes=9)),
    train_cfg=dict(
        rpn=dict(assigner=dict(ignore_iof_thr=0.5)),
        rpn_proposal=dict(nms_pre=300, max_per_img=100),
        # unsure objects of theta_C are neither objects nor background
        rcnn=dict(assigner=dict(ignore_iof_thr=0.5), sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50)))

# One synthetic image per real one.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SyntheticMixDataset',
        ratio=1.0,
        dataset={{_base_.train_dataloader.dataset}}))

max_iters = 900
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=600,
        # theta_C's time constant, 50 iterations, has to fit the length of the stage.
        momentum=0.02,
        student_view='same',  # 'feature_dropout' is level on BCCD (docs/results.md)
        confidence=0.7,
        labelling=dict(ignore_from=0.2),
        creation=dict(
            T=300,
            steps=10,
            solver='dpmsolver++',
            condition=dict(type='OwnCaption'),
            scale=(128, 128),
            batch_size=10)),
    dict(type='GalleryHook')
]

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=50, end=max_iters)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
