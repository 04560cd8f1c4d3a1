# The second step of the embedded model: its decoder learns to bear the errors of a denoiser.
#
#   python tools/train_diffusion.py configs/diffusion_rooms_decoder.py --amp
#
# Latents, U-Net and text encoder stay as configs/diffusion_rooms.py has made them. `make rooms-model`
# runs it before configs/diffusion_rooms_gpu.py.
_base_ = ['./diffusion_rooms.py']

pretrained = 'work_dirs/diffusion_rooms/pipeline'
train_autoencoder = True
train_denoiser = False

autoencoder = dict(
    model=dict(train_encoder=False, latent_noise=0.4, color_weight=2.0),
    optim_wrapper=dict(optimizer=dict(lr=1e-3)),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=600, eta_min=2e-5)
    ],
    train_cfg=dict(max_iters=600))
