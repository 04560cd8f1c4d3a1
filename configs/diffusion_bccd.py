# A small latent diffusion model of BCCD's training photographs (boxes not used), from scratch.
#
#   python tools/train_diffusion.py configs/diffusion_bccd.py --amp \
#       --cfg-options data_root=/path/to/bccd
#
# About an hour to iteration 2,500 of the denoiser on one CPU core with bfloat16 units; the last 300
# iterations, on whole pictures, take four times as long each (estimated).
_base_ = ['./diffusion_camvid.py']

data_root = 'data/bccd'
images = dict(path='images', ann_file='annotations/train.json', size=(240, 320))

autoencoder = dict(
    # as it was when docs/results.md was measured
    model=dict(autoencoder=dict(latent_channels=4, sample_size=320), square_weight=0.0,
               gradient_weight=1.0, crop_iters=1900),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=2000, eta_min=2e-5)
    ],
    train_cfg=dict(max_iters=2000))

denoiser = dict(
    unet=dict(sample_size=(60, 80), block_out_channels=(48, 96, 160)),
    model=dict(latent_crop=(32, 32), latent_crop_iters=2700),
    train_dataloader=dict(batch_size=12),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=3000, eta_min=1e-5)
    ],
    train_cfg=dict(max_iters=3000))
