"""MMSegmentation's stock segmentors, cut down, on the small diffusion model."""

from mmengine.config import Config

from diff2in1_mm.launch.processes import replace_sync_bn

from .stock_configs import set_all, smaller
from .tiny_runs import CLASSES, config

#: How MMSegmentation's configs normalise.
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# What the heads take of a ResNet-50, in four maps, or of its last two if it is dilated.
_PYRAMID = (256, 512, 1024, 2048), (4, 8, 16, 32)
_LAST_TWO = (None, None, 1024, 2048), (4, 8, 8, 8)
#: Name -> MMSegmentation's own config, and ``out_channels`` and ``out_strides`` for its head.
SEGMENTORS = dict(
    sem_fpn=('_base_/models/fpn_r50.py', *_PYRAMID),
    upernet=('_base_/models/upernet_r50.py', *_PYRAMID),
    upernet_swin=('_base_/models/upernet_swin.py', (96, 192, 384, 768), (4, 8, 16, 32)),
    segformer=('_base_/models/segformer_mit-b0.py', (32, 64, 160, 256), (4, 8, 16, 32)),
    # it reads the last three of the four maps
    segnext=('segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py', (None, 64, 160, 256), (4, 8, 16, 32)),
    pspnet=('_base_/models/pspnet_r50-d8.py', *_LAST_TWO),
    deeplabv3plus=('_base_/models/deeplabv3plus_r50-d8.py', (256, None, 1024, 2048), (4, 8, 8, 8)),
    encnet=('_base_/models/encnet_r50-d8.py', *_LAST_TWO),
    emanet=('_base_/models/emanet_r50-d8.py', *_LAST_TWO),
    ocrnet=('_base_/models/ocrnet_r50-d8.py', *_LAST_TWO),
    point_rend=('_base_/models/pointrend_r50.py', *_PYRAMID),
    knet=('knet/knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512.py', *_PYRAMID),
    segmenter=('_base_/models/segmenter_vit-b16_mask.py', (768,), (16,)),
    maskformer=('maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py', *_PYRAMID),
    mask2former=('mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py', *_PYRAMID),
)
#: Those that MMSegmentation builds of MMDetection's parts.
OF_MMDET = ('maskformer', 'mask2former')
# What makes the stock models small: any number by another.
_SMALLER = {64: 16, 128: 16, 160: 24, 256: 32, 384: 32, 512: 32, 768: 96, 1024: 64, 2048: 64, 100: 12, 12544: 64}
_KEPT = ('num_heads', 'max_per_img', 'strides')


def stock_segmentor(name, pipeline):
    """The model of MMSegmentation's config, small, on a diffusion model as a user switches it."""
    path, channels, strides = SEGMENTORS[name]
    model = Config.fromstring(f"_base_ = 'mmseg::{path}'", '.py').model
    model = smaller(model.to_dict(), _SMALLER, _KEPT)
    set_all(model, 'num_classes', len(CLASSES))
    replace_sync_bn(model)
    head = model['decode_head']
    if 'loss_cls' in head:  # and the weight of "no object"
        head['loss_cls']['class_weight'] = [1.0] * len(CLASSES) + [0.1]
    model['backbone'] = dict(
        type='DiffusionBackbone',
        diffusion=str(pipeline),
        input_mean=MEAN,
        input_std=STD,
        out_channels=smaller(channels, _SMALLER),
        out_strides=strides,
    )
    model.update(
        pretrained=None,
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=MEAN, std=STD, bgr_to_rgb=True, size=(64, 64), pad_val=0, seg_pad_val=255
        ),
    )
    model['test_cfg'].pop('crop_size', None)
    model['test_cfg']['mode'] = 'whole'
    return model


def segmentor_config(name, root, work_dir, pipeline, iters=3, **hook):
    """Warm-up of one iteration, creation, self-improvement; validated, saved at the end."""
    hook = {**dict(warm_up=1, momentum=0.5, creation=dict(T=300, steps=1, batch_size=4)), **hook}
    cfg = config(root, work_dir, iters=iters, hook=hook)
    cfg.model = stock_segmentor(name, pipeline)
    cfg.default_hooks.logger.interval = cfg.default_hooks.checkpoint.interval = 1
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=1e-4), clip_grad=dict(max_norm=1))
    return cfg
