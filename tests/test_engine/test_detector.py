"""The hook on a Faster R-CNN, with no wrapper and no second model."""
import json
import time

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

pytest.importorskip('mmdet')

from diff2in1_mm.datasets.synthetic_mix import SyntheticMixDataset  # noqa: E402
from diff2in1_mm.engine import self_improving_hook  # noqa: E402

from .tiny import hook_of, train  # noqa: E402

CLASSES = ('square', 'disc')


@DATASETS.register_module(force=True)
class HalfSynthetic(SyntheticMixDataset):
    """Serves every second real sample as a synthetic one: stores hold no boxes yet."""

    served = None

    def serve(self, round):
        self.served = round

    def __getitem__(self, index):
        results = super().__getitem__(index)
        if self.served is not None and index % 2:
            results['data_samples'].set_metainfo(dict(synthetic=True, sample_id=f's{index}'))
        return results


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """Eight images with one square or disc each, in COCO's layout."""
    root, rng = tmp_path_factory.mktemp('coco'), np.random.default_rng(0)
    content = dict(images=[], annotations=[],
                   categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES)])
    for i in range(8):
        image = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        x, y = (int(v) for v in rng.integers(4, 36, 2))
        if i % 2:
            cv2.circle(image, (x + 11, y + 11), 11, (250, 250, 80), -1)
        else:
            cv2.rectangle(image, (x, y), (x + 22, y + 22), (80, 250, 250), -1)
        cv2.imwrite(str(root / f'{i}.png'), image)
        content['images'].append(dict(id=i, file_name=f'{i}.png', width=64, height=64))
        content['annotations'].append(dict(id=i, image_id=i, category_id=i % 2, iscrowd=0,
                                           bbox=[x, y, 22, 22], area=22 * 22))
    (root / 'coco.json').write_text(json.dumps(content))
    return root


def faster_rcnn():
    """MMDetection's base config, cut down."""
    base = "_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'"
    model = Config.fromstring(base, '.py').model
    model.backbone.update(depth=18, base_channels=8, frozen_stages=1, init_cfg=None)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.roi_head.bbox_roi_extractor.out_channels = 16
    model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32, num_classes=2)
    model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=30)
    model.test_cfg.rpn.update(nms_pre=50, max_per_img=30)
    model.train_cfg.rcnn.sampler.num = 16
    return model


def config(root, work_dir, **hook):
    data = dict(type='CocoDataset', ann_file=str(root / 'coco.json'), serialize_data=False,
                data_prefix=dict(img=f'{root}/'), metainfo=dict(classes=CLASSES))
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(64, 64))]
    train_data = dict(data, pipeline=[*load, dict(type='RandomFlip', prob=0.5),
                                      dict(type='PackDetInputs')])
    val_data = dict(data, test_mode=True, pipeline=[
        *load, dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape',
                                                     'img_shape', 'scale_factor'))])
    return Config(dict(
        default_scope='mmdet', work_dir=str(work_dir), launcher='none', model=faster_rcnn(),
        experiment_name=f'det{time.monotonic_ns()}',
        train_dataloader=dict(
            batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
            dataset=dict(type='HalfSynthetic', dataset=train_data, ratio=0.0)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=5),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.001)),
        val_dataloader=dict(batch_size=2, num_workers=0, dataset=val_data,
                            sampler=dict(type='DefaultSampler', shuffle=False)),
        val_cfg=dict(type='ValLoop'),
        val_evaluator=dict(type='CocoMetric', ann_file=str(root / 'coco.json'), metric='bbox'),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=1)),
        custom_hooks=[dict(type='SelfImprovingHook', warm_up=1, creation={}, momentum=0.5,
                           **hook)],
        log_processor=dict(by_epoch=False), randomness=dict(seed=0), log_level='WARNING'))


@pytest.fixture
def stages(monkeypatch):
    """A creation stage that only has the data set serve its round."""
    def create_round(runner, model, theta_c, settings, round):
        runner.train_dataloader.dataset.serve(round)
        return dict(samples=4)

    monkeypatch.setattr(self_improving_hook, 'create_round', create_round)
    monkeypatch.setattr(self_improving_hook, 'check_creation_stage', lambda *args: None)


@pytest.mark.parametrize('view', ['same', 'strong'])
def test_faster_rcnn(coco, tmp_path, stages, view, monkeypatch):
    labelled = []
    assign = self_improving_hook.labeller_for.__globals__['DetectionLabeller'].assign

    def watch(self, samples, predictions, threshold=None):
        figures = assign(self, samples, predictions, threshold)
        labelled.extend(len(sample.gt_instances) for sample in samples)
        return figures

    monkeypatch.setattr('diff2in1_mm.synthesis.labelling.DetectionLabeller.assign', watch)
    runner = train(config(coco, tmp_path, student_view=view, confidence=0.0))
    assert labelled and max(labelled) > 1  # theta_C's boxes, not the one that is annotated
    scalars = runner.message_hub.log_scalars
    for name in ('ignored', 'agreement', 'loss_real', 'loss_synthetic'):
        value = scalars[f'train/{name}'].current()
        assert value == value
    theta_c = hook_of(runner).theta_c
    assert 'backbone.conv1.weight' not in theta_c.tensors  # a frozen stage
    assert 'rpn_head.rpn_conv.weight' in theta_c.tensors
    checkpoint = torch.load(tmp_path / 'iter_5.pth', weights_only=True)
    assert set(checkpoint['theta_E']) <= set(checkpoint['state_dict'])


def test_no_sure_box_is_a_valid_target(coco, tmp_path, stages):
    runner = train(config(coco, tmp_path, confidence=1.0))
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def test_stores_without_boxes_are_told_before_the_warm_up(coco, tmp_path):
    with pytest.raises(ValueError, match='creation=None'):
        train(config(coco, tmp_path))
