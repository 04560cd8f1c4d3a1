"""MMDetection's stock detectors, cut down, on the small diffusion model; a COCO set of 4 images."""

import json
import time

import cv2
import numpy as np
from mmengine.config import Config

from .stock_configs import set_all, smaller

CLASSES, STUFF = ('square', 'disc'), ('floor', 'wall')
#: Name -> MMDetection's own config.
DETECTORS = dict(
    faster_rcnn='_base_/models/faster-rcnn_r50_fpn.py',
    mask_rcnn='_base_/models/mask-rcnn_r50_fpn.py',
    cascade_rcnn='_base_/models/cascade-rcnn_r50_fpn.py',
    retinanet='_base_/models/retinanet_r50_fpn.py',
    fcos='fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    atss='atss/atss_r50_fpn_1x_coco.py',
    deformable_detr='deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    dino='dino/dino-4scale_r50_8xb2-12e_coco.py',
    mask2former='mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    mask2former_panoptic='mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
    fpn_panoptic='panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
    htc='htc/htc_r50_fpn_1x_coco.py',
)
WITH_MASKS = ('mask_rcnn', 'mask2former', 'htc')
WITH_MAPS = ('htc',)  # of a semantic head
#: What makes the stock models small: any number by another.
_SMALLER = {
    256: 32,
    512: 32,
    1024: 64,
    2048: 64,
    128: 16,
    900: 12,
    300: 12,
    100: 12,
    6: 1,
    9: 2,
    12544: 64,
    1000: 60,
    2000: 60,
}
_KEPT = ('num_heads', 'num_levels', 'max_per_img', 'strides', 'octave_base_scale')


def stock_model(name, things=len(CLASSES), stuff=len(STUFF)):
    """The model of MMDetection's config, small, its backbone as it is."""
    model = Config.fromstring(f"_base_ = 'mmdet::{DETECTORS[name]}'", '.py').model
    # DINO's decoder reckons with 256 channels whatever the config says
    kept = (256, 128) if name == 'dino' else ()
    numbers = {k: v for k, v in _SMALLER.items() if k not in kept}
    model = smaller(model.to_dict(), numbers, _KEPT)
    set_all(model, 'num_classes', things)
    set_all(model['test_cfg'], 'score_thr', 0.0)  # three iterations make nobody sure
    if name in ('fcos', 'atss'):  # their heads' own default is 32 groups
        model['bbox_head']['norm_cfg'] = dict(type='GN', num_groups=8, requires_grad=True)
    if 'encoder' in model:
        model['test_cfg'] = dict(max_per_img=8)
        model['bbox_head']['embed_dims'] = 256 if name == 'dino' else 32
    if name == 'htc':
        model['roi_head']['semantic_head']['num_classes'] = things + stuff
    if 'panoptic_fusion_head' in model:
        stuff = stuff if name.endswith('panoptic') else 0
        for part in {'panoptic_head', 'semantic_head', 'panoptic_fusion_head'} & set(model):
            model[part].update(num_things_classes=things, num_stuff_classes=stuff)
    if name == 'fpn_panoptic':
        model['test_cfg']['panoptic']['stuff_area_limit'] = 1
    if 'panoptic_head' in model:
        model['panoptic_head']['loss_cls']['class_weight'] = [1.0] * (things + stuff) + [0.1]
        model['data_preprocessor']['batch_augments'] = None
    return model


def with_diffusion(model, pipeline):
    """The switch that a user makes: another backbone, which gives what the neck expects."""
    part = model['panoptic_head'] if 'panoptic_head' in model else model['neck']
    first = part.get('start_level', 0)  # the maps before it are not read
    channels = [c if i >= first else None for i, c in enumerate(part['in_channels'])]
    mean, std = (model['data_preprocessor'][k] for k in ('mean', 'std'))
    model['backbone'] = dict(
        type='DiffusionBackbone',
        diffusion=str(pipeline),
        out_channels=channels,
        out_strides=[4, 8, 16, 32][-len(channels) :],
        input_mean=mean,
        input_std=std,
        input_bgr=not model['data_preprocessor']['bgr_to_rgb'],
    )
    return model


def make_coco(root, count=4, size=64):
    """Images with a square and a disc on a floor: instances, panoptic maps, and maps of all classes."""
    rng = np.random.default_rng(0)
    for folder in ('panoptic', 'maps'):
        (root / folder).mkdir(parents=True)
    names = [*CLASSES, *STUFF]
    categories = [dict(id=i + 1, name=name, isthing=int(i < len(CLASSES))) for i, name in enumerate(names)]
    instances = dict(images=[], annotations=[], categories=categories[: len(CLASSES)])
    panoptic = dict(images=[], annotations=[], categories=categories)
    for i in range(count):
        image = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
        ids = np.full((size, size), 3, np.uint8)
        ids[: size // 2] = 4
        for kind, x in enumerate((4, 36)):
            y, mask = int(rng.integers(4, 36)), np.zeros((size, size), np.uint8)
            if kind:
                cv2.circle(mask, (x + 11, y + 11), 11, 1, -1)
            else:
                mask[y : y + 22, x : x + 22] = 1
            image[mask > 0], ids[mask > 0] = ((80, 250, 250), (250, 250, 80))[kind], kind + 1
            outline = max(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
            instances['annotations'].append(
                dict(
                    id=2 * i + kind + 1,
                    image_id=i,
                    category_id=kind + 1,
                    iscrowd=0,
                    bbox=[x, y, 22, 22],
                    area=int(mask.sum()),
                    segmentation=[outline.reshape(-1).tolist()],
                )
            )
        cv2.imwrite(str(root / f'{i}.png'), image)
        cv2.imwrite(str(root / 'panoptic' / f'{i}.png'), np.stack([np.zeros_like(ids), np.zeros_like(ids), ids], -1))
        cv2.imwrite(str(root / 'maps' / f'{i}.png'), ids - 1)
        entry = dict(id=i, file_name=f'{i}.png', width=size, height=size)
        instances['images'].append(entry)
        panoptic['images'].append(entry)
        panoptic['annotations'].append(
            dict(image_id=i, file_name=f'{i}.png', segments_info=[_segment(ids == k + 1, k + 1) for k in range(4)])
        )
    for name, content in (('instances', instances), ('panoptic', panoptic)):
        (root / f'{name}.json').write_text(json.dumps(content))
    return root


def _segment(mask, number):
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    return dict(
        id=number,
        category_id=number,
        iscrowd=0,
        area=int(mask.sum()),
        bbox=[x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
    )


def run_config(name, root, work_dir, pipeline, iters=3, resume=False, mix=True, **hook):
    """Warm-up of one iteration, creation, self-improvement; validated, saved at the end."""
    panoptic = name.endswith('panoptic')
    masks, maps = name in WITH_MASKS, name in WITH_MAPS
    if panoptic:
        base = dict(
            type='CocoPanopticDataset',
            ann_file=str(root / 'panoptic.json'),
            data_prefix=dict(img=f'{root}/', seg=f'{root}/panoptic/'),
            metainfo=dict(classes=CLASSES + STUFF, thing_classes=CLASSES, stuff_classes=STUFF),
        )
        annotations = dict(type='LoadPanopticAnnotations')
        metric = dict(
            type='CocoPanopticMetric', ann_file=str(root / 'panoptic.json'), seg_prefix=f'{root}/panoptic/', nproc=1
        )
    else:
        base = dict(
            type='CocoDataset',
            ann_file=str(root / 'instances.json'),
            data_prefix=dict(img=f'{root}/', **(dict(seg=f'{root}/maps/') if maps else {})),
            metainfo=dict(classes=CLASSES),
        )
        annotations = dict(type='LoadAnnotations', with_bbox=True, with_mask=masks, with_seg=maps)
        metric = dict(
            type='CocoMetric', ann_file=str(root / 'instances.json'), metric=['bbox', 'segm'] if masks else 'bbox'
        )
    load = [dict(type='LoadImageFromFile'), annotations]
    train_data = dict(
        base,
        serialize_data=False,
        pipeline=[
            *load,
            dict(type='Resize', scale=(64, 64)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    )
    if mix:
        train_data = dict(type='SyntheticMixDataset', dataset=train_data, ratio=1.0, store=f'{work_dir}/store')
    val_data = dict(
        base,
        serialize_data=False,
        test_mode=True,
        pipeline=[
            load[0],
            dict(type='Resize', scale=(80, 64), keep_ratio=True),
            *(load[1:] if panoptic else []),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
        ],
    )
    val_loader = dict(batch_size=2, num_workers=0, dataset=val_data, sampler=dict(type='DefaultSampler', shuffle=False))
    hook = dict(dict(warm_up=1, momentum=0.5, confidence=0.0, creation=dict(T=300, steps=1, batch_size=4)), **hook)
    hook.setdefault('labelling', dict(allow_empty=True))
    return Config(
        dict(
            default_scope='mmdet',
            work_dir=str(work_dir),
            launcher='none',
            resume=resume,
            model=with_diffusion(stock_model(name), pipeline),
            experiment_name=f'{name}{time.monotonic_ns()}',
            train_dataloader=dict(
                batch_size=4, num_workers=0, dataset=train_data, sampler=dict(type='InfiniteSampler', shuffle=True)
            ),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=iters, val_interval=100),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-4), clip_grad=dict(max_norm=1)),
            val_dataloader=val_loader,
            val_cfg=dict(type='ValLoop'),
            val_evaluator=metric,
            test_dataloader=val_loader,
            test_cfg=dict(type='TestLoop'),
            test_evaluator=metric,
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=1),
                visualization=dict(type='DetVisualizationHook'),
            ),
            custom_hooks=[dict(type='SelfImprovingHook', **hook)],
            visualizer=dict(type='DetLocalVisualizer'),
            log_processor=dict(by_epoch=False),
            randomness=dict(seed=0),
            log_level='WARNING',
        )
    )
