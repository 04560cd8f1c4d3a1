# Rooms with a backbone of its own, a ResNet-18 from scratch: the small diffusion model that comes with the package
# makes synthetic images and is in memory for that alone. Nothing is downloaded.
#
#   python tools/train.py configs/diff2in1_rooms_resnet.py
_base_ = ['./diff2in1_rooms.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNetV1c',
        depth=18,
        norm_cfg=dict(type='BN', requires_grad=True)),
    neck=dict(in_channels=[64, 128, 256, 512]))

# A network from scratch learns longer before its labels are worth learning from.
max_iters = 1200
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=800,
        # theta_C's time constant, 50 iterations, has to fit the length of the stage.
        momentum=0.02,
        creation=dict(
            diffusion='diff2in1_mm/rooms',
            T=400,
            condition=dict(type='OwnCaption'),
            scale=(128, 128),
            batch_size=10)),
    dict(type='GalleryHook')
]

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=50, end=max_iters)
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
