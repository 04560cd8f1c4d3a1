# All weights of the denoiser of a diffusion model of any family (docs/models.md), trained on photographs of your own:
# for many images, where a LoRA (diffusion_lora.py) is too little. In float32, with two moments of Adam: 16 bytes a
# weight, 40 GB for SD 3.5-medium. Not measured.
#
#   python tools/train_diffusion.py configs/diffusion_full.py --amp \
#       --cfg-options data_root=/path/to/photos pretrained=stabilityai/stable-diffusion-3.5-medium
#
# The result is WORK_DIR/pipeline, a folder of diffusers with all parts.
_base_ = ['./diffusion_lora.py']

denoiser = dict(
    model=dict(
        _delete_=True,
        type='FullTrainer',
        dtype='bf16',
        caption_dropout=0.1,
        gradient_checkpointing=True),
    optim_wrapper=dict(optimizer=dict(lr=1e-5)))
