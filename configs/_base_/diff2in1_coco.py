# What the two-stage detectors on COCO share: Stable Diffusion 1.5 in place of the ResNet-50, and
# synthetic images of the training photographs, labelled by the detector itself. MMEngine merges no
# key that two base files have, so what MMDetection's own config has stands here under other names.
custom_imports = dict(imports=['diff2in1_mm'], allow_failed_imports=False)
randomness = dict(seed=0)

diffusion_model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        _delete_=True,
        type='DiffusionBackbone',
        diffusion=dict(source='stable-diffusion-v1-5/stable-diffusion-v1-5', dtype='bf16'),
        # VPD's four maps, each doubled: FPN and anchors stay as they are
        taps='decoder',
        out_strides=[4, 8, 16, 32]),
    neck=dict(in_channels=[320, 640, 1280, 1280]),
    # unsure objects of theta_C are neither objects nor background
    train_cfg=dict(
        rpn=dict(assigner=dict(ignore_iof_thr=0.5)),
        rcnn=dict(assigner=dict(ignore_iof_thr=0.5))))

custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=8,
        # The paper's m = 0.998 every 10 iterations, in MMEngine's convention.
        momentum=0.002,
        interval=10,
        student_view='same',  # 'feature_dropout' is level on BCCD (docs/results.md)
        confidence=0.9,  # as in SoftTeacher
        labelling=dict(ignore_from=0.5),
        creation=dict(
            T=300,
            steps=10,
            solver='dpmsolver++',
            # COCO's photographs are of all kinds: what their boxes show says the most.
            condition=dict(type='ComposedCaption', scene='scene'),
            # what Stable Diffusion 1.5 draws well, and what the test pipeline shows the detector
            scale=(768, 512),
            label_scale=(1333, 800),
            batch_size=4))
]

adamw = dict(
    _delete_=True, type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05))
atomic_checkpoint = dict(
    _delete_=True, type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2)
