# Semantic segmentation of ADE20K by VPD's recipe (Zhao et al. 2023): attention maps of the class names, which an
# adapter tunes, and all of the U-Net trained at a tenth of the head's rate; 80,000 iterations of 16 crops. The second
# half is ours: synthetic images as in diff2in1_ade20k.py. VPD alone, on real images all the way:
#
#   python tools/train.py configs/diff2in1_ade20k_vpd.py --cfg-options "custom_hooks=[]" --work-dir work_dirs/vpd
#
# Not trained by us: no GPU was at hand.
_base_ = ['./diff2in1_ade20k.py']

model = dict(
    backbone=dict(
        diffusion=dict(source='stable-diffusion-v1-5/stable-diffusion-v1-5', dtype='fp32'),
        train='full',
        text_adapter=True,
        attention_maps=True,
        # as VPD's code has it; TADP reads them scaled, as the U-Net was trained
        scale_latents=False),
    neck=dict(in_channels=[320, 640 + 150, 1280 + 150, 1280]))

# VPD names 'unet' and 'norm'; there the norms of the U-Net's transformers, which are both, have the head's rate.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'backbone.denoiser': dict(lr_mult=0.1),
            'norm': dict(decay_mult=0.)
        }))
max_iters = 80000
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=0, end=max_iters)
]
