"""Parts of a diffusion model that train in moments, and what to train them on."""

import torch

AUTOENCODER = dict(
    block_out_channels=(8, 8, 16),
    down_block_types=('DownEncoderBlock2D',) * 3,
    up_block_types=('UpDecoderBlock2D',) * 3,
    layers_per_block=1,
    latent_channels=4,
    norm_num_groups=4,
    mid_block_add_attention=False,
)
UNET = dict(
    sample_size=8,
    block_out_channels=(16, 24, 32),
    layers_per_block=1,
    norm_num_groups=4,
    down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
    up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'),
    attention_head_dim=2,
)
TEXT_ENCODER = dict(
    hidden_size=16,
    intermediate_size=32,
    projection_dim=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=16,
)
SCHEDULER = dict(
    beta_schedule='scaled_linear',
    beta_start=0.00085,
    beta_end=0.012,
    prediction_type='v_prediction',
    clip_sample=False,
    set_alpha_to_one=False,
    steps_offset=1,
)
CAPTIONS = ['a photo of a street with cars and trees', 'two pedestrians, 3 bicyclists']


def photos(count=2, size=(32, 48)):
    """Smooth coloured uint8 pictures."""
    torch.manual_seed(1)
    small = torch.randint(0, 256, (count, 3, 4, 6)).float()
    return torch.nn.functional.interpolate(small, size=size, mode='bilinear').byte()
