# A U-Net whose features need no noise, of a Stable Diffusion of your own: tuned on unlabelled images, of which a few
# thousand are enough (CleanDIFT, Stracke et al., CVPR 2025; batch, rate and number of steps are theirs). One GPU; not
# measured.
#
#   python tools/train_diffusion.py configs/diffusion_distil_clean.py --amp \
#       --cfg-options data_root=/path/to/photos pretrained=work_dirs/mine/pipeline
#
# The result is WORK_DIR/unet: diffusion=dict(source=PRETRAINED, unet='WORK_DIR/unet') of a DiffusionBackbone.
_base_ = ['./_base_/diffusion_runtime.py']

data_root = 'data/photos'
images = dict(path='.', size=(512, 512), captions=None)
mirror = True
pretrained = 'stable-diffusion-v1-5/stable-diffusion-v1-5'

denoiser = dict(
    model=dict(type='CleanDistiller', timestep=1, levels_per_image=3, gradient_checkpointing=True),
    train_dataloader=dict(
        batch_size=8,
        num_workers=2,
        persistent_workers=True,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        collate_fn=dict(type='default_collate')),
    optim_wrapper=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.0),
        clip_grad=dict(max_norm=1.0)),
    param_scheduler=[dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=50)],
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=400),
    custom_hooks=[dict(type='SavePipelineHook', interval=200)])
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=200, max_keep_ckpts=1))
