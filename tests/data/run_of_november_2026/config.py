custom_hooks = [dict(creation=dict(), momentum=0.5, type='SelfImprovingHook', warm_up=4)]
custom_imports = dict(allow_failed_imports=False, imports=['diff2in1_mm', 'tests.tiny_runs'])
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=2, type='AtomicCheckpointHook'), logger=dict(interval=2, type='LoggerHook')
)
default_scope = 'mmseg'
experiment_name = 'run_7374891840011'
launcher = 'none'
log_level = 'WARNING'
log_processor = dict(by_epoch=False)
model = dict(
    backbone=dict(type='FrozenBackbone'),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[127.5, 127.5, 127.5],
        size=(32, 32),
        std=[127.5, 127.5, 127.5],
        type='SegDataPreProcessor',
    ),
    decode_head=dict(
        align_corners=False,
        channels=8,
        dropout_ratio=0.1,
        in_channels=8,
        in_index=0,
        norm_cfg=dict(requires_grad=True, type='BN'),
        num_classes=3,
        num_convs=1,
        type='FCNHead',
    ),
    test_cfg=dict(mode='whole'),
    type='EncoderDecoder',
)
optim_wrapper = dict(optimizer=dict(lr=0.01, type='Adam'), type='OptimWrapper')
randomness = dict(seed=0)
resume = False
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_prefix=dict(img_path='img/val', seg_map_path='ann/val'),
        data_root='images',
        img_suffix='.png',
        metainfo=dict(classes=('sky', 'tree', 'road'), palette=[[60, 120, 220], [30, 160, 40], [120, 110, 100]]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(reduce_zero_label=False, type='mmseg.LoadAnnotations'),
            dict(type='mmseg.PackSegInputs'),
        ],
        seg_map_suffix='.png',
        serialize_data=False,
        test_mode=True,
        type='mmseg.BaseSegDataset',
    ),
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = dict(iou_metrics=['mIoU'], type='mmseg.IoUMetric')
train_cfg = dict(max_iters=8, type='IterBasedTrainLoop', val_interval=1000)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        dataset=dict(
            data_prefix=dict(img_path='img/train', seg_map_path='ann/train'),
            data_root='images',
            img_suffix='.png',
            metainfo=dict(classes=('sky', 'tree', 'road'), palette=[[60, 120, 220], [30, 160, 40], [120, 110, 100]]),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(reduce_zero_label=False, type='mmseg.LoadAnnotations'),
                dict(prob=0.5, type='mmseg.RandomFlip'),
                dict(type='mmseg.PackSegInputs'),
            ],
            seg_map_suffix='.png',
            serialize_data=False,
            type='mmseg.BaseSegDataset',
        ),
        ratio=1.0,
        store='run/store',
        type='SyntheticMixDataset',
    ),
    num_workers=0,
    sampler=dict(shuffle=True, type='InfiniteSampler'),
)
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_prefix=dict(img_path='img/val', seg_map_path='ann/val'),
        data_root='images',
        img_suffix='.png',
        metainfo=dict(classes=('sky', 'tree', 'road'), palette=[[60, 120, 220], [30, 160, 40], [120, 110, 100]]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(reduce_zero_label=False, type='mmseg.LoadAnnotations'),
            dict(type='mmseg.PackSegInputs'),
        ],
        seg_map_suffix='.png',
        serialize_data=False,
        test_mode=True,
        type='mmseg.BaseSegDataset',
    ),
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
val_evaluator = dict(iou_metrics=['mIoU'], type='mmseg.IoUMetric')
work_dir = 'run'
