# Stable Diffusion 1.5, frozen, under InvPT's decoder with the paper's sizes; heads per task take its map.
model = dict(
    type='MultiTaskEstimator',
    data_preprocessor=dict(
        type='SceneDataPreProcessor',
        mean=[127.5, 127.5, 127.5],  # leads to [-1, 1], what the diffusion model was trained on
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(
        type='DiffusionBackbone',
        diffusion=dict(source='stable-diffusion-v1-5/stable-diffusion-v1-5', dtype='bf16'),
        taps='decoder'),
    cross_task=dict(
        type='InvPTHead', in_channels=[320, 640, 1280, 1280], channels=512, width=576),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
of_one_map = dict(
    in_channels=[576],
    in_index=[0],
    feature_strides=[8],
    channels=256,
    norm_cfg=dict(type='SyncBN', requires_grad=True),
    align_corners=False)
of_two = dict(type='FPNHead', num_classes=2, out_channels=1, **of_one_map)
# The papers' weights: 1 for classes and depth, 10 for normals (L1), 50 for boundaries, 5 for saliency, 2 for parts.
normals_head = dict(
    type='FPNNormalHead',
    loss_decode=dict(type='NormalLoss', kind='l1', loss_weight=10.0),
    **of_one_map)
boundaries_head = dict(
    threshold=0.8,
    loss_decode=dict(type='BalancedBCELoss', pos_weight=0.95, loss_weight=50.0),
    **of_two)
saliency_head = dict(
    threshold=0.5, loss_decode=dict(type='BalancedBCELoss', loss_weight=5.0), **of_two)
