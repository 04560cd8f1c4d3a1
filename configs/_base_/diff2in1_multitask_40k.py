# Schedule and synthetic images of several tasks at once: 40,000 iterations, the first 25,000 on real images alone.
_base_ = ['./diff2in1_runtime.py']

max_iters = 40000
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=25000,
        # m = 0.998 every 10 iterations, in MMEngine's convention
        momentum=0.002,
        interval=10,
        student_view='same',
        creation=dict(
            T=400,
            steps=10,
            solver='dpmsolver++',
            condition=dict(type='Prompt'),
            batch_size=8))
]

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=1000),
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=1000, end=max_iters)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=5000)
visualizer = dict(type='SceneLocalVisualizer')
