# Mask R-CNN on COCO with Stable Diffusion 1.5 in place of the ResNet, then synthetic images of the
# training photographs, labelled by the detector itself.
#
# COCO is expected in MMDetection's layout (data/coco); Stable Diffusion is downloaded from the hub
# on first use. The schedule has not been run here: it is MMDetection's 1x with AdamW.
_base_ = ['mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', './_base_/diff2in1_coco.py']

model = {{_base_.diffusion_model}}
# One synthetic image per real one: an epoch is twice as long.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SyntheticMixDataset',
        ratio=1.0,
        dataset={{_base_.train_dataloader.dataset}}))
optim_wrapper = {{_base_.adamw}}
default_hooks = dict(checkpoint={{_base_.atomic_checkpoint}})
