# Stable Diffusion 1.5 adapted to photographs of your own, fully: its autoencoder stays, its U-Net
# is trained on at a small learning rate (with captions also the text encoder). One GPU; not measured:
# weights, gradients, moments and the average alone are about 20 GB.
#
#   python tools/train_diffusion.py configs/diffusion_sd15_adapt.py --amp \
#       --cfg-options data_root=/path/to/photos images.captions=sidecar
_base_ = ['./_base_/diffusion_runtime.py']

data_root = 'data/photos'
images = dict(path='.', size=(512, 512), captions=None)
truncate_captions = True
mirror = True
keep_latents = True
encode_batch_size = 8
pretrained = 'stable-diffusion-v1-5/stable-diffusion-v1-5'

denoiser = dict(
    model=dict(
        type='DenoiserTrainer', caption_dropout=0.1, sample_steps=25, channels_last=True,
        gradient_checkpointing=True),
    train_dataloader=dict(
        batch_size=4,
        num_workers=2,
        persistent_workers=True,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        collate_fn=dict(type='default_collate')),
    optim_wrapper=dict(
        type='OptimWrapper',
        accumulative_counts=4,
        optimizer=dict(type='AdamW', lr=1e-5, betas=(0.9, 0.999), weight_decay=1e-2),
        clip_grad=dict(max_norm=1.0)),
    param_scheduler=[dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=500)],
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=20000),
    custom_hooks=[
        dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-3),
        dict(type='SampleGridHook', count=4, interval=1000),
        dict(type='SavePipelineHook', interval=2000, dtype='fp16')
    ])
# a checkpoint holds U-Net, average and optimizer: 14 GB
default_hooks = dict(checkpoint=dict(interval=2000, max_keep_ckpts=1))
