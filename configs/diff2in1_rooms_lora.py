# Rooms with the embedded diffusion model trained along by LoRA (pip install peft); images are generated with the model
# as it was. Features change with every step, so that none can be kept: an iteration takes several times as long.
#
#   python tools/train.py configs/diff2in1_rooms_lora.py
_base_ = ['./diff2in1_rooms.py']

model = dict(backbone=dict(cached_images=0, train=dict(type='lora', rank=16)))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone.denoiser': dict(lr_mult=0.1)}))
