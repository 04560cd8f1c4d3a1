# The denoiser of configs/diffusion_rooms.py trained on in large batches: minutes on a GPU.
#
#   python tools/train_diffusion.py configs/diffusion_rooms_gpu.py --amp
#
# One process and 3.6 GB of its memory; 0.11 s a step on an H100, most of it the CPU's. Two CPU cores would
# take 5 hours with bfloat16 units and 14 without (estimated). `make rooms-model` runs it last and puts the
# result into the package.
_base_ = ['./diffusion_rooms.py']

data_root = 'data/rooms_1'
rooms = dict(seed=1, counts=dict(unlabelled=8000))  # none of the rooms that it has seen
mirror = True  # captions name no sides
encode_batch_size = 256
pretrained = 'work_dirs/diffusion_rooms_decoder/pipeline'

denoiser = dict(
    model=dict(channels_last=True),
    train_dataloader=dict(batch_size=256, num_workers=2, persistent_workers=True),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=200),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=3200, eta_min=1e-5)
    ],
    train_cfg=dict(max_iters=3200))
