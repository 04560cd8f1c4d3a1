# The small latent diffusion model of Rooms that the package ships, from scratch: the first of three steps.
# The others are configs/diffusion_rooms_decoder.py and configs/diffusion_rooms_gpu.py.
#
#   torchrun --nproc_per_node=2 tools/train_diffusion.py configs/diffusion_rooms.py --amp \
#       --launcher pytorch
#
# Sized for two CPU cores with bfloat16 units and two hours; that includes the 20,000 unlabelled
# rooms, which are rendered on first use. For one process write `python` in place of torchrun and
# leave the launcher out; batches are then half as large.
_base_ = ['./diffusion_camvid.py']

data_root = 'data/rooms'
images = dict(path='images/unlabelled', size=(128, 128), captions='captions_unlabelled.json')
rooms = dict(splits=['unlabelled'], size=(128, 128))  # see make_rooms
mirror = False  # there are rooms enough
encode_batch_size = 16

autoencoder = dict(
    model=dict(autoencoder=dict(sample_size=128)),
    train_dataloader=dict(dataset=dict(crop=None)),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=6300, eta_min=2e-5)
    ],
    train_cfg=dict(max_iters=6300))

denoiser = dict(
    unet=dict(
        sample_size=32,
        block_out_channels=(32, 64, 128, 160),
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=4,
        down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D',
                          'CrossAttnDownBlock2D'),
        up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D',
                        'UpBlock2D')),
    text_encoder=dict(max_position_embeddings=40),
    model=dict(latent_crop=None, latent_crop_iters=0, sample_strengths=(200, 400, 600)),
    train_dataloader=dict(batch_size=16),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=4400, eta_min=1e-5)
    ],
    train_cfg=dict(max_iters=4400))
