# Labels of a simulator, a test on what it imitates: rooms in flat colours with labels, rooms in full for the test. The
# diffusion model has seen rooms in full alone, and gives each picture of the simulator the textures and light of these,
# with its labels; a ResNet-18 from scratch learns from both. Nothing is downloaded.
#
#   python tools/train.py configs/diff2in1_rooms_simulator.py
#   # the control
#   python tools/train.py configs/diff2in1_rooms_simulator.py --work-dir work_dirs/control --cfg-options \
#       custom_hooks.0.creation=None
_base_ = ['./diff2in1_rooms_resnet.py']

train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        dataset=dict(
            data_root='data/rooms_flat',
            shading='flat',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations'),
                dict(type='RandomResize', scale=(128, 128), ratio_range=(0.75, 1.5), keep_ratio=True),
                dict(type='RandomCrop', crop_size=(128, 128), cat_max_ratio=0.75),
                dict(type='RandomFlip', prob=0.5),
                dict(type='PhotoMetricDistortion'),
                # of the camera, which neither a simulator nor an autoencoder has
                dict(type='AddGrain', noise=3),
                dict(type='PackSegInputs')
            ])))

max_iters = 500
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=300,
        # theta_C's time constant, 50 iterations, has to fit the length of the stage.
        momentum=0.02,
        # The labels of the simulator are right; theta_C's, of textures that it hardly knows, are not.
        targets='creation',
        student_view='same',
        creation=dict(
            diffusion='diff2in1_mm/rooms',
            # Walls, floor and ceiling get new surfaces; things keep their places and outlines.
            T=dict(
                default=800, window=400, table=400, chair=400, sofa=400, cupboard=400, lamp=400, plant=400, ball=400,
                block=400),
            copies_per_source=4,
            label_from='source',
            condition=dict(type='OwnCaption'),
            scale=(128, 128),
            batch_size=10)),
    dict(type='GalleryHook')
]

optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=50, end=max_iters)
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=100))
