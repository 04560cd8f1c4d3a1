# A control branch (ControlNet, Zhang et al. 2023) of your own classes: a Stable Diffusion 1.x, 2.x or XL learns to
# follow label maps of your labelled photographs. Maps are one-channel files of class indices in images.maps, named as
# the images; images.palette is the data set whose colours they are shown in, that of the config which creates. One
# GPU; rate and dropped captions are ControlNet's, not measured.
#
#   python tools/train_diffusion.py configs/diffusion_control.py --amp \
#       --cfg-options data_root=data/cityscapes images.path=leftImg8bit/train images.img_suffix=_leftImg8bit.png \
#       images.maps=gtFine/train images.seg_map_suffix=_gtFine_labelTrainIds.png images.palette=CityscapesDataset \
#       images.size="(512,1024)"
#
# The result is WORK_DIR/control: creation=dict(control=dict(source='WORK_DIR/control'), label_from='source', T=900).
_base_ = ['./diffusion_lora.py']

images = dict(maps=None, palette=None, img_suffix=None, seg_map_suffix='.png')
denoiser = dict(
    model=dict(
        _delete_=True,
        type='ControlTrainer',
        dtype='bf16',
        caption_dropout=0.5,
        gradient_checkpointing=True,
        sample_strengths=(400, 700, 950)),
    optim_wrapper=dict(optimizer=dict(lr=1e-5)))
