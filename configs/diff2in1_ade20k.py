# Semantic segmentation of ADE20K with Stable Diffusion 1.5: FPN head and schedule of VPD, then
# synthetic images of the training photographs, labelled by the model itself.
#
# ADE20K is expected in MMSegmentation's layout (data/ade/ADEChallengeData2016); Stable Diffusion is
# downloaded from the hub on first use. Not trained by us: no GPU was at hand.
_base_ = [
    './_base_/models/fpn_sd15.py', 'mmseg::_base_/datasets/ade20k.py',
    './_base_/diff2in1_runtime.py'
]

crop_size = (512, 512)
model = dict(
    data_preprocessor=dict(size=crop_size),
    # One token per class, from the names that the data set itself carries.
    backbone=dict(condition=dict(type='ClassNames', dataset='ADE20KDataset')),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(341, 341)))

# 4 GPUs x 4 real and synthetic images, one synthetic per real one.
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        _delete_=True,
        type='SyntheticMixDataset',
        ratio=1.0,
        dataset={{_base_.train_dataloader.dataset}}))

max_iters = 80000
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=40000,
        # The paper's m = 0.998 every 10 iterations, in MMEngine's convention.
        momentum=0.002,
        interval=10,
        student_view='same',  # other views cost more on Rooms (docs/rooms.md)
        confidence=0.5,
        creation=dict(
            T=400,
            steps=10,
            solver='dpmsolver++',
            # ADE20K's photographs are of all kinds: what their labels show says the most.
            condition=dict(type='ComposedCaption', scene='scene'),
            scale=(512, 512),
            batch_size=8))
]

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=8e-5, weight_decay=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=1500, end=max_iters)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=8000)
auto_scale_lr = dict(enable=False, base_batch_size=16)
