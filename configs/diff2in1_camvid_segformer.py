# CamVid with MMSegmentation's SegFormer as it is: the diffusion model of the photographs makes synthetic images and is
# in memory for that alone. From scratch; with published weights set
# model.backbone.init_cfg=dict(type='Pretrained', checkpoint=...) and a learning rate of 6e-5, as MMSegmentation does.
#
#   python tools/train_diffusion.py configs/diffusion_camvid.py --amp --work-dir work_dirs/diffusion_camvid
#   python tools/train.py configs/diff2in1_camvid_segformer.py
_base_ = [
    'mmseg::_base_/models/segformer_mit-b0.py', './_base_/datasets/camvid.py',
    './_base_/diff2in1_runtime.py'
]

model = dict(
    data_preprocessor=dict(size=(192, 256)),
    decode_head=dict(
        num_classes=11,
        norm_cfg=dict(type='BN'),
        loss_decode=dict(
            _delete_=True,
            type='WeightedCrossEntropyLoss',
            # as diff2in1_camvid.py
            class_weight=[0.5, 0.5, 2.0, 0.5, 1.0, 0.5, 2.0, 2.0, 1.0, 2.0, 2.0])))

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
        warm_up=800,
        # theta_C's time constant, 50 iterations, has to fit the length of the stage.
        momentum=0.02,
        creation=dict(
            # what tools/train_diffusion.py made of the unlabelled photographs
            diffusion='work_dirs/diffusion_camvid/pipeline',
            T=300,
            condition=dict(type='Prompt'),
            scale=(256, 192),
            batch_size=4))
]

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-4, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.))))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=100, end=max_iters)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=200))
