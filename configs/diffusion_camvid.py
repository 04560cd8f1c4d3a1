# A small latent diffusion model of CamVid's training photographs (unlabelled), from scratch.
#
#   python tools/train_diffusion.py configs/diffusion_camvid.py --amp \
#       --cfg-options data_root=/path/to/camvid
#
# An hour and a half on one CPU core with bfloat16 units (--amp), two and a half without. Two
# processes (torchrun) with half the batch_size of both stages share the work.
_base_ = ['./_base_/diffusion_runtime.py']

data_root = 'data/camvid'
# `path` is a folder or a glob below data_root. `size` (height, width) must be divisible by the
# stride, here 16. `captions`: a .json / .jsonl file, 'sidecar' (.txt beside each image), or None.
images = dict(path='images/train', size=(192, 256), captions=None)
truncate_captions = False  # False: a caption too long for the text encoder is an error
mirror = True  # mirror images count as images
keep_latents = True  # encode every image once; False encodes as training goes (huge sets)
encode_batch_size = 8
# A diffusers folder or hub id: its autoencoder stays, its U-Net is trained on (a small lr, please).
pretrained = None

ema = dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.004, gamma=10)
autoencoder = dict(
    model=dict(
        type='AutoencoderTrainer',
        autoencoder=dict(
            in_channels=3,
            out_channels=3,
            block_out_channels=(24, 48, 64),  # stride 4
            down_block_types=('DownEncoderBlock2D', ) * 3,
            up_block_types=('UpDecoderBlock2D', ) * 3,
            layers_per_block=1,
            # Four channels hold 4x4 pixels no better than 25 dB, eight 28 dB and more (Rooms).
            latent_channels=8,
            norm_num_groups=8,
            mid_block_add_attention=False,  # any image size at linear cost
            sample_size=256),
        square_weight=10.0,
        gradient_weight=0.25,
        crop=(64, 64),
        crop_iters=0),
    train_dataloader=dict(
        batch_size=8,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='ImageFolder', crop=(96, 128), flip=0.5)),
    optim_wrapper=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4, fused=True),
        clip_grad=dict(max_norm=1.0)),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=3500, eta_min=2e-5)
    ],
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=3500),
    custom_hooks=[ema, dict(type='SampleGridHook', interval=500)])

denoiser = dict(
    unet=dict(
        sample_size=(48, 64),
        block_out_channels=(64, 96, 160),
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=4,  # the number of heads, as in Stable Diffusion 1.x
        down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
        up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D')),
    text_encoder=dict(
        hidden_size=64,
        intermediate_size=256,
        projection_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77),
    scheduler=dict(
        num_train_timesteps=1000,
        beta_schedule='scaled_linear',
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type='v_prediction',
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing='leading'),
    # crops of latents cost a third of whole ones; the end of training sees whole pictures
    model=dict(
        type='DenoiserTrainer', latent_crop=(32, 32), latent_crop_iters=2600, caption_dropout=0.1,
        sample_steps=20),
    train_dataloader=dict(
        batch_size=8,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        collate_fn=dict(type='default_collate')),
    optim_wrapper=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-2, fused=True),
        clip_grad=dict(max_norm=1.0)),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=200),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=3000, eta_min=1e-5)
    ],
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=3000),
    custom_hooks=[
        ema,
        dict(type='SampleGridHook', count=4, interval=1000),
        dict(type='SavePipelineHook', interval=250)
    ])
