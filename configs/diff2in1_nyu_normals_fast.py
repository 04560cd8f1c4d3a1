# Surface normals of NYUv2 by the recommended recipe: half precision, no noise in the perception
# pass, a fast solver, flips, uncertain pixels left out. See docs/parity.md for the reasons.
_base_ = ['./diff2in1_nyu_normals.py']

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadNormals'),
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSceneInputs')
]
model = dict(
    backbone=dict(
        diffusion=dict(dtype='bf16'), timestep=1, noise=False, sample_posterior=False))
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=25,
        # 0.002 would leave 14 % of the warm-up's weights in theta_C after these 990 updates
        momentum=0.01,
        interval=10,
        student_view='same',  # 'strong': better with 10 rooms (docs/rooms.md)
        labelling=dict(max_error=30.0),
        creation=dict(
            T=400,
            steps=10,
            solver='dpmsolver++',
            condition=dict(type='OwnCaption'),
            scale=(512, 512),
            keep_ratio=False,
            batch_size=8))
]
