# Panoptic segmentation of COCO: Mask2Former with Stable Diffusion 1.5 in place of the ResNet, then
# synthetic images of the training photographs, labelled by the model itself.
#
# COCO is expected in MMDetection's layout (data/coco), and panopticapi installed, as MMDetection asks
# for. Stable Diffusion is downloaded from the hub on first use. The schedule, MMDetection's own for
# the ResNet, has not been run here.
_base_ = ['mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py']

custom_imports = dict(imports=['diff2in1_mm'], allow_failed_imports=False)
randomness = dict(seed=0)
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        _delete_=True,
        type='DiffusionBackbone',
        diffusion=dict(source='stable-diffusion-v1-5/stable-diffusion-v1-5', dtype='bf16'),
        # VPD's four maps, each doubled: the pixel decoder's strides stay as they are
        taps='decoder',
        out_strides=[4, 8, 16, 32]),
    panoptic_head=dict(in_channels=[320, 640, 1280, 1280]))

# One synthetic image per real one.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SyntheticMixDataset',
        ratio=1.0,
        dataset={{_base_.train_dataloader.dataset}}))
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=250000,
        # The paper's m = 0.998 every 10 iterations, in MMEngine's convention.
        momentum=0.002,
        interval=10,
        student_view='same',  # 'feature_dropout' is level on BCCD (docs/results.md)
        confidence=0.8,
        creation=dict(
            T=300,
            steps=10,
            solver='dpmsolver++',
            # COCO's photographs are of all kinds: what their labels show says the most.
            condition=dict(type='ComposedCaption', scene='scene'),
            # what Stable Diffusion 1.5 draws well, and what the test pipeline shows the model
            scale=(768, 512),
            label_scale=(1333, 800),
            batch_size=4))
]
default_hooks = dict(
    checkpoint=dict(_delete_=True, type='AtomicCheckpointHook', by_epoch=False, interval=5000,
                    max_keep_ckpts=2))
