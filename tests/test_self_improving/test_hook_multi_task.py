"""Whole runs on five kinds of labels at once: every synthetic sample has them all."""

import json

import cv2
import pytest
import torch
from mmengine.runner import Runner

from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.utils.resources import tool_path

from ..processes import run_in_two_processes
from ..tiny_runs import hook_of, train
from ..tiny_scenes import FPN, LOADERS, METRICS, SIZE, scene_config
from ..watched_runs import CountHook

TASKS = ('segmentation', 'depth', 'normals', 'boundaries', 'saliency')
FIELDS = {'gt_sem_seg', 'gt_depth_map', 'gt_normal_map', 'gt_boundary_map', 'gt_saliency_map'}


def multi_task_config(root, work_dir, pipeline_folder, **kwargs):
    cfg = scene_config(root, work_dir, 'depth', pipeline_folder, **kwargs)
    cfg.model.type = 'MultiTaskEstimator'
    del cfg.model['decode_head']
    cfg.model.heads = dict(
        segmentation=dict(type='FPNHead', num_classes=12, **FPN),
        depth=dict(type='FPNDepthHead', max_depth=20.0, **FPN),
        normals=dict(type='FPNNormalHead', **FPN),
        **{
            task: dict(
                type='FPNHead',
                num_classes=2,
                out_channels=1,
                threshold=0.5,
                loss_decode=dict(type='BalancedBCELoss'),
                **FPN,
            )
            for task in TASKS[3:]
        },
    )
    labels = [dict(type='LoadAnnotations'), LOADERS['depth'], LOADERS['normals']]
    labels += [dict(type='LoadBoundaries'), dict(type='LoadSaliency')]
    for dataset in (cfg.train_dataloader.dataset.dataset, cfg.val_dataloader.dataset, cfg.test_dataloader.dataset):
        dataset.type = 'RoomsMultiTaskDataset'
        dataset.pipeline[1:2] = labels
    metrics = [dict(type='IoUMetric', iou_metrics=['mIoU']), METRICS['depth'], METRICS['normals']]
    metrics += [dict(type='BoundaryF', thresholds=3), dict(type='SaliencyF')]
    cfg.val_evaluator = cfg.test_evaluator = dict(
        type='MultiTaskEvaluator',
        metrics=[dict(m, prefix=task) for m, task in zip(metrics, TASKS)],
        alone={'depth/rmse': 1.0, 'saliency/maxF': 50.0},
    )
    return cfg


def test_from_rooms_to_summary(tmp_path, pipeline_folder, counted):
    creation = dict(T=300, steps=2, batch_size=4, label_from=dict(saliency='source'))
    hook = dict(student_view='feature_dropout', confidence=dict(segmentation=0.1), creation=creation)
    cfg = multi_task_config(tmp_path / 'rooms', tmp_path / 'work', pipeline_folder, iters=8, hook=hook)
    cfg.custom_hooks.append(dict(type='GalleryHook', count=2))
    per_iteration = []
    runner = Runner.from_cfg(cfg)
    runner.register_hook(CountHook(counted, per_iteration))
    runner.train()
    # one VAE encoding and one U-Net pass per image for all tasks, in the warm-up and beside theta_C's labels
    assert per_iteration[4:] == [(4, 4)] * 4 and per_iteration[:3] == [(4, 4)] * 3
    summary = json.loads((tmp_path / 'work/summary.json').read_text())
    for stage in ('warm_up', 'self_improving'):
        assert {
            'segmentation/mIoU',
            'depth/rmse',
            'normals/rmse',
            'boundaries/odsF',
            'saliency/maxF',
            'delta_m',
        } <= set(summary['stages'][stage])
    hub = runner.message_hub
    assert 0 <= hub.get_scalar('train/ignored_segmentation').current() < 1
    assert hub.get_scalar('train/ignored_depth').current() == 0
    store = SyntheticStore(tmp_path / 'work/store', tasks=TASKS)
    assert len(store) == 6
    image, annotations = store.read(store.records()[0])
    assert {a.shape[:2] for a in annotations.values()} == {SIZE} == {image.shape[:2]}
    record = store.records()[0]
    assert {'consistency.depth_normals', 'consistency.segmentation_boundaries'} <= set(record.quality)
    classes = cv2.imread(record.source_path.replace('/images/', '/annotations/'), cv2.IMREAD_UNCHANGED)
    assert ((annotations['saliency'] == 1) == (classes >= 3)).all()  # the source image's own
    data = runner.train_dataloader.dataset
    sample = data[len(data.real)]['data_samples']
    assert sample.synthetic and FIELDS <= set(sample.keys())
    assert (tmp_path / 'work/gallery.png').exists() and (tmp_path / 'work/store/preview.png').exists()
    figures = runner.test()
    assert figures['depth/rmse'] == pytest.approx(summary['stages']['self_improving']['depth/rmse'], rel=1e-4)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, pipeline_folder):
    options = dict(iters=8, hook=dict(warm_up=3))
    whole = train(multi_task_config(tmp_path / 'rooms', tmp_path / 'whole', pipeline_folder, **options))
    cut = multi_task_config(tmp_path / 'rooms', tmp_path / 'cut', pipeline_folder, **options)
    cut.train_cfg.max_iters = 6
    train(cut)
    cut.train_cfg.max_iters, cut.resume = 8, True
    cut.experiment_name += '_resumed'
    resumed = train(cut)
    for name, value in hook_of(whole).theta_c.state_dict().items():
        assert torch.equal(hook_of(resumed).theta_c.state_dict()[name], value), name


def test_two_processes_in_bfloat16_of_which_one_has_no_depth_at_times(tmp_path, pipeline_folder):
    from ..test_tools.test_train import write

    cfg = multi_task_config(tmp_path / 'rooms', tmp_path / 'run', pipeline_folder, iters=6, amp=True, batch=2)
    cfg.train_dataloader.dataset.dataset.pipeline.insert(0, dict(type='WithoutDepth'))
    cfg.custom_imports = dict(imports=['diff2in1_mm', 'tests.absent_labels'], allow_failed_imports=False)
    cfg.log_level = 'INFO'
    run_in_two_processes([tool_path('tools/train.py'), write(cfg, tmp_path), '--work-dir', 'run'], tmp_path)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert 'depth.loss_absent' in log.read_text()  # in some batches of the first process
    summary = json.loads((tmp_path / 'run/summary.json').read_text())
    assert 0 < summary['stages']['self_improving']['delta_m'] ** 2 < float('inf')
    store = SyntheticStore(tmp_path / 'run/store', tasks=TASKS)
    assert len(store) == 6 and all(set(store.read(record)[1]) == set(TASKS) for record in store.records())
    theta_c = torch.load(tmp_path / 'run/iter_6.pth', weights_only=True)['state_dict']
    assert all(value.isfinite().all() for value in theta_c.values())
