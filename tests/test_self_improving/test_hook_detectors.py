"""Each detector that the README names: trains, creates, labels itself, saves, resumes, tests."""

import json

import pytest
import torch
from mmengine.runner import Runner

pytest.importorskip('mmdet')

from diff2in1_mm.store.store import SyntheticStore  # noqa: E402
from diff2in1_mm.utils.compat import load_weights_only  # noqa: E402
from diff2in1_mm.utils.resources import tool_path  # noqa: E402

from ..detectors import DETECTORS, make_coco, run_config  # noqa: E402
from ..processes import run_in_two_processes  # noqa: E402
from ..stores import read_one
from ..tiny_runs import hook_of, train  # noqa: E402
from ..versions import needs_detectors  # noqa: E402
from ..watched_runs import train_watched  # noqa: E402

pytestmark = needs_detectors


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    return make_coco(tmp_path_factory.mktemp('coco') / 'set')


@pytest.fixture(scope='module')
def epochs_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('epochs')


@pytest.mark.parametrize('name', DETECTORS)
def test_detector(name, coco, tmp_path, pipeline_folder, counted, untouched):
    runner = Runner.from_cfg(run_config(name, coco, tmp_path, pipeline_folder, student_view='feature_dropout'))
    passes = train_watched(runner, counted, untouched)
    assert len(passes) == 3 and all(passes[0] <= later for later in passes)  # all learns as before

    store = SyntheticStore(tmp_path / 'store')
    assert len(store) == 4 and not store.damaged
    check_coco(tmp_path / 'store', store)

    resumed = train(run_config(name, coco, tmp_path, pipeline_folder, iters=4, resume=True))
    assert resumed.iter == 4
    cfg = run_config(name, coco, tmp_path / 'test', pipeline_folder)
    cfg.load_from, cfg.custom_hooks = str(tmp_path / 'iter_4.pth'), []
    metrics = Runner.from_cfg(cfg).test()
    prefix = 'coco_panoptic/' if name.endswith('panoptic') else 'coco/'
    assert metrics and all(key.startswith(prefix) for key in metrics)
    assert all(torch.isfinite(p).all() for p in resumed.model.parameters())


def check_coco(root, store):
    """pycocotools reads the whole file, and boxes lie inside the images."""
    from pycocotools.coco import COCO

    if store.tasks == ('panoptic',):
        content = json.loads((root / 'panoptic.json').read_text())
        for image, annotation in zip(content['images'], content['annotations']):
            assert image['id'] == annotation['image_id']
            assert (root / 'images' / image['file_name']).is_file()
            assert (root / 'annotations/panoptic' / annotation['file_name']).is_file()
        return
    coco = COCO(str(root / 'instances.json'))
    assert len(coco.imgs) == len(coco.dataset['images']) == len(store)  # no id twice
    assert len(coco.anns) == len(coco.dataset['annotations'])
    for annotation in coco.anns.values():
        image = coco.imgs[annotation['image_id']]
        x, y, width, height = annotation['bbox']
        assert x >= 0 and y >= 0 and width > 0 and height > 0
        assert x + width <= image['width'] and y + height <= image['height']
        if 'segmentation' in annotation:
            assert coco.annToMask(annotation).sum() == annotation['area']


def test_a_detector_trains_the_denoiser_along(coco, tmp_path, pipeline_folder):
    """With LoRA, and a step of the optimizer every two iterations."""
    pytest.importorskip('peft')
    cfg = run_config('faster_rcnn', coco, tmp_path, pipeline_folder, iters=4)
    cfg.model.backbone.train = dict(type='lora', rank=2)
    cfg.optim_wrapper.accumulative_counts = 2
    train(cfg)
    assert len(SyntheticStore(tmp_path / 'store')) == 4
    checkpoint = load_weights_only(tmp_path / 'iter_4.pth')
    teacher, student = checkpoint['state_dict'], checkpoint['theta_E']
    second = [name for name in student if '.lora_B.' in name]  # zero before the first step
    assert second and all(student[name].any() for name in second)
    assert all(not torch.equal(teacher[name], student[name]) for name in second)


def test_a_stronger_view_and_labels_of_the_last_step(coco, tmp_path, pipeline_folder):
    train(
        run_config(
            'faster_rcnn',
            coco,
            tmp_path,
            pipeline_folder,
            student_view='strong',
            creation=dict(T=300, steps=1, label_from='last_step'),
        )
    )
    assert len(SyntheticStore(tmp_path / 'store')) == 4


def test_boxes_and_masks_of_the_source(coco, tmp_path, pipeline_folder):
    train(
        run_config(
            'mask_rcnn',
            coco,
            tmp_path,
            pipeline_folder,
            targets='creation',
            creation=dict(T=50, steps=1, label_from='source'),
        )
    )
    store = SyntheticStore(tmp_path / 'store')
    content = json.loads((coco / 'instances.json').read_text())
    for record in store.records():
        _, found = read_one(store, record)
        name = record.source_path.rpartition('/')[2]
        (image,) = [entry['id'] for entry in content['images'] if entry['file_name'] == name]
        wanted = [a['bbox'] for a in content['annotations'] if a['image_id'] == image]
        assert found.bboxes[:, :2].tolist() == [box[:2] for box in wanted]
        assert found.masks.shape == (2, 64, 64)


def test_nothing_found_stops_with_what_to_do(coco, tmp_path, pipeline_folder):
    with pytest.raises(ValueError, match='none of 4 images.*allow_empty'):
        train(run_config('faster_rcnn', coco, tmp_path, pipeline_folder, confidence=1.0, labelling=dict()))


@pytest.mark.parametrize('epochs, resume', [(2, False), (3, True)])
def test_epochs_accumulation_and_amp(coco, epochs_dir, pipeline_folder, epochs, resume):
    # a detector without 1 x 1 maps: of these torch 2.13's bfloat16 convolutions on CPUs make NaN
    cfg = run_config('deformable_detr', coco, epochs_dir, pipeline_folder, resume=resume)
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1)
    cfg.train_dataloader.update(sampler=dict(type='DefaultSampler', shuffle=True), batch_size=2)
    cfg.optim_wrapper.update(type='Bf16OptimWrapper', accumulative_counts=2)
    cfg.default_hooks.checkpoint.update(by_epoch=True)
    runner = train(cfg)
    assert runner.epoch == epochs and (epochs_dir / f'epoch_{epochs}.pth').is_file()
    hook = hook_of(runner)
    assert hook.state.stage == 'self_improving' and hook.state.start == 4  # of one epoch
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def test_amp_with_a_diffusion_model_in_half_precision(coco, tmp_path, pipeline_folder, untouched):
    # the maps are made under autocast, theta_C predicts with them outside it
    cfg = run_config('deformable_detr', coco, tmp_path, pipeline_folder, student_view='feature_dropout')
    cfg.model.backbone.diffusion = dict(source=str(pipeline_folder), dtype='bf16')
    cfg.optim_wrapper.update(type='Bf16OptimWrapper')
    runner = train(cfg)
    assert any(synthetic for _, synthetic, _ in untouched)
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def test_two_stage_detectors_without_bfloat16(coco, tmp_path, pipeline_folder):
    cfg = run_config('faster_rcnn', coco, tmp_path, pipeline_folder)
    cfg.optim_wrapper.type = 'Bf16OptimWrapper'
    with pytest.raises(ValueError, match='on a CPU is not for two-stage.*leave it out.*float32'):
        train(cfg)


def test_two_processes_with_parameters_that_are_not_used(coco, tmp_path, pipeline_folder):
    from ..test_tools.test_train import write

    cfg = run_config('mask_rcnn', coco, tmp_path / 'run', pipeline_folder)
    cfg.find_unused_parameters = True
    cfg.custom_imports = dict(imports=['diff2in1_mm'], allow_failed_imports=False)
    cfg.train_dataloader.batch_size = 2
    run_in_two_processes([tool_path('tools/train.py'), write(cfg, tmp_path), '--work-dir', 'run'], tmp_path)
    store = SyntheticStore(tmp_path / 'run' / 'store')
    assert len(store) == 4
    check_coco(tmp_path / 'run' / 'store', store)


def test_theta_c_is_what_mmdetections_own_tools_load(coco, tmp_path, pipeline_folder):
    import cv2
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    cfg = run_config('faster_rcnn', coco, tmp_path, pipeline_folder)
    path = tmp_path / 'config.py'
    cfg.dump(str(path))
    train(cfg)
    checkpoint, image = str(tmp_path / 'iter_3.pth'), cv2.imread(str(coco / '0.png'))
    model = init_detector(cfg, checkpoint, device='cpu')
    boxes = inference_detector(model, image).pred_instances
    assert len(boxes) and model.dataset_meta['classes'] == ('square', 'disc')
    inferencer = DetInferencer(str(path), checkpoint, device='cpu', show_progress=False)
    found = inferencer(image)['predictions'][0]
    assert torch.tensor(found['bboxes']).allclose(boxes.bboxes, atol=1e-3)


def test_ignored_boxes_reach_a_detector_that_reads_them(coco, tmp_path, pipeline_folder):
    cfg = run_config(
        'faster_rcnn',
        coco,
        tmp_path,
        pipeline_folder,
        confidence=0.6,
        labelling=dict(ignore_from=0.0, allow_empty=True),
    )
    for part in (cfg.model.train_cfg.rpn, cfg.model.train_cfg.rcnn):
        part.assigner.ignore_iof_thr = 0.5
    train(cfg)
    store = SyntheticStore(tmp_path / 'store')
    found = [read_one(store, record)[1] for record in store.records()]
    assert any(annotation.ignored.any() for annotation in found)
