# Depth of NYUv2 by VPD's recipe (Zhao et al. 2023): all of the U-Net trained at a hundredth of the head's rate, and the
# text adapter; 25 epochs of 24,231 images, 24 at a time (8 GPUs x 3). The second half is ours: synthetic images as in
# diff2in1_nyu_depth.py. VPD alone:
#
#   python tools/train.py configs/diff2in1_nyu_depth_vpd.py --cfg-options "custom_hooks=[]" --work-dir work_dirs/vpd
#
# Two things are not VPD's: it tells the U-Net the kind of room, here all are told the same, and its rate falls by a
# curve (1 - x^0.9) where ours falls straight. Not run here.
_base_ = ['./diff2in1_nyu_depth.py']

model = dict(
    backbone=dict(
        diffusion=dict(source='stable-diffusion-v1-5/stable-diffusion-v1-5', dtype='fp32'),
        train='full',
        text_adapter=True,
        scale_latents=False,
        keep_padding=True,
        condition=dict(type='Prompt', text='a photo of a room')),
    decode_head=dict(padded_stride=32))

train_dataloader = dict(batch_size=3)
max_iters = 25250
custom_hooks = [
    dict(
        type='SelfImprovingHook',
        warm_up=12500,
        momentum=0.002,
        interval=10,
        creation=dict(
            T=400, steps=10, solver='dpmsolver++', condition=dict(type='Prompt'), batch_size=8))
]
optim_wrapper = dict(
    paramwise_cfg=dict(
        norm_decay_mult=0.,
        bias_decay_mult=0.,
        custom_keys={'backbone.denoiser': dict(lr_mult=0.01)}))
# from 3e-5 to 5e-4 and back
param_scheduler = [
    dict(type='LinearLR', start_factor=0.06, by_epoch=False, begin=0, end=max_iters // 2),
    dict(
        type='LinearLR', start_factor=1., end_factor=0.06, by_epoch=False, begin=max_iters // 2,
        end=max_iters)
]
train_cfg = dict(max_iters=max_iters, val_interval=5050)
