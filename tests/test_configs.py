"""The shipped configs: complete, consistent, and buildable on a small model."""

import importlib
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import diff2in1_mm  # noqa: F401
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.diffusion.taps import select_taps, unet_taps
from diff2in1_mm.launch.processes import replace_sync_bn

FOLDER = Path(__file__).resolve().parent.parent / 'configs'
# estimators of values, which know no classes, and what measures them
MAPS = dict(NormalEstimator='NormalMetric', DepthMapEstimator='DepthErrors')
NAMES = sorted(path.name for path in FOLDER.glob('diff2in1_*.py'))
# whose diffusion model is there for the creation alone
OWN_BACKBONE = ('diff2in1_rooms_resnet.py', 'diff2in1_rooms_simulator.py', 'diff2in1_camvid_segformer.py')


@pytest.fixture(params=NAMES)
def cfg(request):
    return Config.fromfile(FOLDER / request.param)


def lengths(cfg):
    """Of the run and of the stage, in the unit of the loop, and that unit's iterations."""
    by_epoch = cfg.train_cfg.type == 'EpochBasedTrainLoop'
    whole = cfg.train_cfg.max_epochs if by_epoch else cfg.train_cfg.max_iters
    # COCO's 118,287 images, at 16 a step
    return whole, whole - cfg.custom_hooks[0].warm_up, 118287 // 16 if by_epoch else 1


def test_a_run_has_what_the_method_needs(cfg):
    assert cfg.custom_imports.imports == ['diff2in1_mm']
    assert cfg.train_dataloader.dataset.type == 'SyntheticMixDataset'
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    hook = cfg.custom_hooks[0]
    whole, stage, iterations = lengths(cfg)
    assert hook.type == 'SelfImprovingHook' and 0 < stage < whole
    # theta_C can follow: its time constant is well below the length of the stage.
    assert hook.get('interval', 1) / hook.momentum < stage * iterations / 2
    CreationSettings.from_dict(hook.creation).build_generator()
    schedulers = cfg.param_scheduler
    last = schedulers[-1] if isinstance(schedulers, list) else schedulers
    assert last['end'] == whole
    assert cfg.randomness.seed is not None


def test_the_model_builds_over_any_diffusion_model(cfg, pipeline_folder):
    init_default_scope(cfg.default_scope)
    if cfg.model.backbone.type != 'DiffusionBackbone':
        assert Path(cfg.filename).name in OWN_BACKBONE and cfg.custom_hooks[0].creation.diffusion
        replace_sync_bn(cfg.model)
        check_whole_model(MODELS.build(cfg.model))
        return
    cfg.model.backbone.diffusion = pipeline_folder
    condition = cfg.model.backbone.get('condition')
    if condition is not None and condition.type == 'ClassNames':
        assert condition.dataset == cfg.train_dataloader.dataset.dataset.type
        cfg.model.backbone.condition = None  # its prompts are too long for the tiny text encoder
    if cfg.default_scope == 'mmseg':
        shrink_segmentor(cfg.model)
    else:
        shrink_detector(cfg.model)
    model = MODELS.build(cfg.model)
    model.backbone.check_normalisation(model.data_preprocessor)


def check_whole_model(model):
    """Backbone, neck and head fit each other."""
    with torch.no_grad():
        metas = [dict(img_shape=(64, 96), pad_shape=(64, 96))]
        assert model.eval().encode_decode(torch.zeros(1, 3, 64, 96), metas).shape == (
            1, model.decode_head.num_classes, 64, 96,
        )  # fmt: skip


def shrink_segmentor(model):
    if 'cross_task' in model:
        model.cross_task.update(in_channels=[16, 24, 32], channels=16, width=16)
        for head in model.heads.values():
            head.update(in_channels=[16])
        return
    if 'heads' in model:
        model.neck.update(in_channels=[16, 24, 32], num_outs=3)
        for head in model.heads.values():
            head.update(in_channels=[64] * 3, in_index=[0, 1, 2], feature_strides=[4, 8, 16])
        return
    kind = model.decode_head.type
    if kind in ('NormalHead', 'DepthHead'):  # they take four strides, and the tiny model has three
        widths = [16, 24, 32, 32]
        model.backbone.update(out_channels=widths, out_strides=[4, 8, 16, 32])
        if kind == 'NormalHead':
            model.neck.update(in_channels=widths, out_channels=[4, 6, 8, 12, 32])
            model.decode_head.update(in_channels=[4, 6, 8, 12, 32], channels=128)
        else:
            model.decode_head.update(in_channels=widths, embed_dim=16, feature_dim=128)
        return
    model.neck.update(in_channels=[16, 24, 32], num_outs=3)
    channels = model.neck.out_channels
    model.decode_head.update(in_channels=[channels] * 3, in_index=[0, 1, 2], feature_strides=[4, 8, 16])


def shrink_detector(model):
    model.backbone.pop('out_strides', None)
    model.backbone.taps = 'decoder'
    if 'panoptic_head' in model:
        model.panoptic_head.update(in_channels=[16, 24, 32], strides=[4, 8, 16])
        model.panoptic_head.pixel_decoder.encoder.layer_cfg.self_attn_cfg.num_levels = 2
        model.panoptic_head.num_transformer_feat_level = 2
    else:
        model.neck.in_channels = [16, 24, 32]


def test_the_head_fits_the_data_set(cfg):
    init_default_scope(cfg.default_scope)
    dataset = importlib.import_module(f'{cfg.default_scope}.registry').DATASETS.get(
        cfg.train_dataloader.dataset.dataset.type
    )
    model = cfg.model
    if model.type in MAPS:
        assert cfg.val_evaluator.type == MAPS[model.type]
        loaders = [step.type for step in cfg.train_dataloader.dataset.dataset.pipeline]
        assert loaders[-1] == 'PackSceneInputs'
        return
    if 'heads' in model:
        heads = [model.heads.segmentation.num_classes]
    elif 'decode_head' in model:
        heads = [model.decode_head.num_classes]
    elif 'panoptic_head' in model:
        heads = [
            part.num_things_classes + part.num_stuff_classes
            for part in (model.panoptic_head, model.panoptic_fusion_head)
        ]
    else:
        heads = [head.num_classes for name, head in model.roi_head.items() if name.endswith('_head')]
    assert heads and all(len(dataset.METAINFO['classes']) == classes for classes in heads)


def test_mmdetections_configs_ignore_unsure_boxes(cfg):
    """``ignore_from`` does something only where the assigners read ignored boxes."""
    labelling = cfg.custom_hooks[0].get('labelling') or {}
    if 'ignore_from' in labelling:
        assert cfg.model.train_cfg.rpn.assigner.ignore_iof_thr > 0
        assert cfg.model.train_cfg.rcnn.assigner.ignore_iof_thr > 0


def test_detectors_label_at_the_scale_that_they_are_tested_at(cfg):
    if cfg.default_scope == 'mmdet':
        (resize,) = [step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize']
        creation = cfg.custom_hooks[0].creation
        assert creation.get('label_scale', creation.get('scale')) == resize.scale


@pytest.mark.parametrize(
    'name, diffusion',
    [
        ('diff2in1_camvid.py', 'diffusion_camvid.py'),
        ('diff2in1_bccd.py', 'diffusion_bccd.py'),
        ('diff2in1_rooms.py', 'diffusion_rooms.py'),
        ('diff2in1_rooms_mask_rcnn.py', 'diffusion_rooms.py'),
    ],
)
def test_the_neck_fits_the_diffusion_model_that_our_config_trains(name, diffusion):
    cfg, trained = Config.fromfile(FOLDER / name), Config.fromfile(FOLDER / diffusion)
    latent_stride = 2 ** (len(trained.autoencoder.model.autoencoder.block_out_channels) - 1)
    with torch.device('meta'):
        unet = UNet2DConditionModel(cross_attention_dim=64, **trained.denoiser.unet)
    groups = select_taps(unet_taps(unet, latent_stride), cfg.model.backbone.taps)
    assert [sum(tap.channels for tap in group) for group in groups] == cfg.model.neck.in_channels
