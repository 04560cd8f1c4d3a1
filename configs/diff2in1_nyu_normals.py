# Surface normals of NYUv2 by the released recipe of Diff-2-in-1, number for number; what differs
# from it is listed in docs/parity.md. The recommended recipe is diff2in1_nyu_normals_fast.py.
#
# NYUv2 is expected in the layout of Bae et al. (data/nyu_normals/{train,test}/{img,norm}) with
# captions (train/caption/*.txt); Stable Diffusion is downloaded from the hub on first use.
_base_ = ['./_base_/datasets/nyu_normals.py', './_base_/diff2in1_runtime.py']

model = dict(
    type='NormalEstimator',
    data_preprocessor=dict(
        type='SceneDataPreProcessor',
        size=(512, 512),
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True),
    backbone=dict(
        type='DiffusionBackbone',
        diffusion=dict(source='stable-diffusion-v1-5/stable-diffusion-v1-5', dtype='fp32'),
        taps='all',
        timestep=0,
        noise=True,
        sample_posterior=True),
    neck=dict(type='DiffusionAggregator', in_channels=[2560, 4160, 7040, 7680]),
    decode_head=dict(type='NormalHead'),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

# One synthetic image per real one. An epoch is 198 batches of the 1590 samples; before there are
# synthetic images it goes through the 795 real ones twice, so these 25 epochs are the released 50.
train_dataloader = dict(
    drop_last=True,
    dataset=dict(
        _delete_=True,
        type='SyntheticMixDataset',
        ratio=1.0,
        dataset={{_base_.train_dataloader.dataset}}))

max_epochs = 75
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=25,
        # m = 0.998 in MMEngine's convention, at iterations 10, 20, ... of each epoch
        momentum=0.002,
        interval=10,
        interval_from='epoch',
        restart_optimizer=True,
        target_mode='train',
        student_view='same',
        creation=dict(
            T=600,
            steps=50,
            solver='ddim',
            condition=dict(type='OwnCaption'),
            sample_posterior=True,
            scale=(512, 512),
            keep_ratio=False,
            label_from='last_step',
            batch_size=8))
]

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3.57e-4))
param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=0, end=max_epochs)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
log_processor = dict(by_epoch=True)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=5))
randomness = dict(seed=42)
visualizer = dict(type='SceneLocalVisualizer')
