#!/bin/bash
# diffusers 0.42.1: ControlNetModel.from_unet, which begins a control branch as a copy of a U-Net, has no answer to a
# U-Net without a middle block, though UNet2DConditionModel allows one and published distilled models are so.
#
# Expected: a branch of the encoder alone, since a residual of the middle block is added only where there is such a
# block; or an error that says what is missing.
# Seen: ValueError 'unknown mid_block_type : None', of a setting of the U-Net that its own class knows.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.24.0
cd "$folder"
cat > look.py <<'PYTHON'
from importlib.metadata import version

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

print('diffusers', version('diffusers'), 'torch', version('torch'))
options = dict(block_out_channels=(8, 16), norm_num_groups=4, cross_attention_dim=8, attention_head_dim=4)
options.update(down_block_types=('CrossAttnDownBlock2D', 'DownBlock2D'), up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'))
for middle in ('UNetMidBlock2DCrossAttn', None):
    unet = UNet2DConditionModel(mid_block_type=middle, **options)
    latents, text = torch.zeros(1, 4, 16, 16), torch.zeros(1, 3, 8)
    print(f'mid_block_type={middle!r}: the U-Net gives', tuple(unet(latents, 1, text).sample.shape))
    try:
        network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))
        print('  its ControlNet', type(network.mid_block).__name__)
        assert middle is not None, 'it has one: this finding no longer holds'
    except ValueError as error:
        print('  its ControlNet:', error)
        assert middle is None and 'unknown mid_block_type' in str(error)
PYTHON
"$folder/env/bin/python" look.py
