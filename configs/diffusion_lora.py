# A diffusion model of any family (docs/models.md) adapted to photographs of your own by LoRA: the projections of
# attention in its denoiser, at rank 16. One GPU; not measured.
#
#   python tools/train_diffusion.py configs/diffusion_lora.py --amp \
#       --cfg-options data_root=/path/to/photos images.size="(1024,1024)" \
#       pretrained=stabilityai/stable-diffusion-3.5-medium
#
# The result is WORK_DIR/lora, which load_lora_weights of diffusers reads, and diffusion=dict(source=PRETRAINED,
# lora='WORK_DIR/lora') of a DiffusionBackbone or of the creation.
_base_ = ['./_base_/diffusion_runtime.py']

data_root = 'data/photos'
images = dict(path='.', size=(512, 512), captions=None)
mirror = True
pretrained = 'stable-diffusion-v1-5/stable-diffusion-v1-5'

denoiser = dict(
    model=dict(
        type='LoRATrainer', rank=16, dtype='bf16', caption_dropout=0.1, gradient_checkpointing=True),
    train_dataloader=dict(
        batch_size=4,
        num_workers=2,
        persistent_workers=True,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        collate_fn=dict(type='default_collate')),
    optim_wrapper=dict(
        type='OptimWrapper',
        accumulative_counts=4,
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-2),
        clip_grad=dict(max_norm=1.0)),
    param_scheduler=[dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200)],
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=8000),
    custom_hooks=[
        dict(type='SampleGridHook', count=4, interval=1000),
        dict(type='SavePipelineHook', interval=1000)
    ])
