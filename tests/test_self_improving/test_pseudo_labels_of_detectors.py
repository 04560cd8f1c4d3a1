"""theta_C's labels in the coordinates of MMDetection's batches, and what they do to the losses."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

pytest.importorskip('mmdet')

from mmdet.models.task_modules import BaseAssigner  # noqa: E402
from mmdet.testing import demo_mm_inputs  # noqa: E402

from diff2in1_mm.preflight.run import check_views  # noqa: E402
from diff2in1_mm.self_improving.pseudo_labels import BatchPass, ViewSettings  # noqa: E402
from diff2in1_mm.self_improving.theta_c import ThetaC  # noqa: E402
from diff2in1_mm.tasks import labeller_for  # noqa: E402
from diff2in1_mm.tasks.detectors import ignores_boxes  # noqa: E402
from diff2in1_mm.tasks.semantic_heads import semantic_head  # noqa: E402

from ..detectors import DETECTORS, WITH_MAPS, WITH_MASKS, stock_model, with_diffusion  # noqa: E402
from ..versions import needs_detectors  # noqa: E402

pytestmark = needs_detectors
SIZES = [(3, 56, 48), (3, 40, 64)]  # batches of 64 x 64: all detectors pad to 32, or need not
#: MMDetection's batch augmentations; those that resize know no masks.
AUGMENTATIONS = dict(
    none=None,
    fixed_pad=[dict(type='BatchFixedSizePad', size=(96, 128), img_pad_value=0, pad_mask=False)],
    random_resize=[dict(type='BatchSyncRandomResize', random_size_range=(96, 96), interval=1)],
    resize=[dict(type='BatchResize', scale=(96, 96), pad_size_divisor=32)],
)


def build(name, pipeline, augmentation=None, ignoring=None):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    # mostly things, so that an untrained model finds one
    config = with_diffusion(stock_model(name, things=6, stuff=1), pipeline)
    config['data_preprocessor'].update(batch_augments=augmentation, pad_size_divisor=32)
    for part in ignoring(config['train_cfg']) if ignoring else ():
        part['assigner']['ignore_iof_thr'] = 0.5
    model = MODELS.build(ConfigDict(config))
    model.init_weights()
    return model.train()


def batch(model, synthetic=(0, 1)):
    """Real labels everywhere, through the model's own data preprocessor."""
    head = getattr(model, 'panoptic_fusion_head', None)
    data = demo_mm_inputs(
        2,
        SIZES,
        num_items=[3, 2],
        num_classes=2,
        with_semantic=bool(head and head.num_stuff_classes) or semantic_head(model) is not None,
        with_mask=bool(head) or model.with_mask,
    )
    for i, sample in enumerate(data['data_samples']):
        sample.set_metainfo(dict(synthetic=i in synthetic, sample_id=f's{i}'))
    return model.data_preprocessor(data, True)


def attached(model, confidence=0.0, **labelling):
    batch_pass = BatchPass(model, labeller_for(model, confidence, labelling), ViewSettings(), 0)
    batch_pass.theta_c = ThetaC(model)
    return batch_pass


def loss(model, data):
    return model.parse_losses(model(**data, mode='loss'))[0]


@pytest.mark.parametrize(
    'name, augmentation',
    [
        *((name, augmentation) for name in ('retinanet', 'dino') for augmentation in AUGMENTATIONS),
        *(
            (name, augmentation)
            for name in ('mask_rcnn', 'htc', 'mask2former_panoptic', 'fpn_panoptic')
            for augmentation in ('none', 'fixed_pad')
        ),
    ],
)
def test_labels_are_in_the_batchs_pixels(name, augmentation, pipeline_folder):
    masks = name in WITH_MASKS or name.endswith('panoptic')
    model = build(name, pipeline_folder, AUGMENTATIONS[augmentation])
    MessageHub.get_current_instance().update_info('iter', 0)
    if augmentation == 'random_resize':
        batch(model)  # its size holds from the next batch on
    data = batch(model)
    size = dict(none=(64, 64), fixed_pad=(96, 128)).get(augmentation, (96, 96))
    assert data['inputs'].shape[-2:] == size
    attached(model, allow_empty=True)
    assert torch.isfinite(loss(model, data))
    assert any(len(sample.gt_instances) for sample in data['data_samples'])
    for sample in data['data_samples']:
        height, width = sample.img_shape
        found = sample.gt_instances
        assert (found.bboxes >= 0).all()
        assert (found.bboxes[:, 0::2] <= width).all() and (found.bboxes[:, 1::2] <= height).all()
        if masks:
            shown = found.masks.to_tensor(torch.bool, 'cpu')
            assert shown.shape[1:] == size and (shown[:, :height, :width].any() or not len(found))
            assert not shown[:, height:].any() and not shown[:, :, width:].any()
        if name.endswith('panoptic') or name in WITH_MAPS:
            semantic = sample.gt_sem_seg.sem_seg[0]
            assert semantic.shape == size and (semantic[:height, :width] != 255).any()
            assert (semantic[height:] == 255).all() and (semantic[:, width:] == 255).all()


def test_denoising_queries_refuse_targets_in_training_mode(pipeline_folder):
    with pytest.raises(ValueError, match="DINO makes denoising queries.*target_mode='eval'"):
        check_views(build('dino', pipeline_folder), 'same', 'train')
    check_views(build('deformable_detr', pipeline_folder), 'same', 'train')


def learning(model, data):
    """Names of the parameters that a batch gives a gradient."""
    model.zero_grad(set_to_none=True)
    loss(model, data).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    return {name for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('name', DETECTORS)
def test_all_of_it_learns_when_theta_c_finds_nothing(name, pipeline_folder):
    """Whole batches without a target must not leave parameters to DDP that got no gradient."""
    model = build(name, pipeline_folder)
    usual = learning(model, batch(model, synthetic=()))
    assert usual == {name for name, p in model.named_parameters() if p.requires_grad}
    attached(model, confidence=1.0, allow_empty=True)
    data = batch(model)
    found = learning(model, data)
    assert not any(len(sample.gt_instances) for sample in data['data_samples'])
    assert found == usual


def watched_assigners(monkeypatch, model):
    """A list that gets what each call of an assigner makes of the predictions."""
    assigned = []
    for kind in {type(a) for m in model.modules() for a in vars(m).values() if isinstance(a, BaseAssigner)}:

        def watch(self, *args, _assign=kind.assign, **kwargs):
            result = _assign(self, *args, **kwargs)
            assigned.append(result.gt_inds)
            return result

        monkeypatch.setattr(kind, 'assign', watch)
    return assigned


#: How a config makes a detector leave predictions over unsure boxes alone (docs/detection.md).
IGNORING = dict(
    faster_rcnn=lambda cfg: [cfg['rpn'], cfg['rcnn']],
    mask_rcnn=lambda cfg: [cfg['rpn'], cfg['rcnn']],
    cascade_rcnn=lambda cfg: [cfg['rpn'], *cfg['rcnn']],
    retinanet=lambda cfg: [cfg],
    atss=lambda cfg: [cfg],
)


@pytest.mark.parametrize('name', DETECTORS)
def test_which_detectors_ignore(name, pipeline_folder, monkeypatch):
    """Those of the docs' table, and only when all their assigners are told to."""
    assert not ignores_boxes(build(name, pipeline_folder))
    if name not in IGNORING:
        return
    model = build(name, pipeline_folder, ignoring=IGNORING[name])
    assert ignores_boxes(model)
    data = batch(model, synthetic=())
    for sample in data['data_samples']:  # MMDetection ignores nothing in an image without objects
        assert len(sample.gt_instances)
        sample.ignored_instances = InstanceData(bboxes=torch.tensor([[-999.0, -999, 999, 999]]))
    assigned = watched_assigners(monkeypatch, model)
    loss(model, data)
    assert assigned and not any((inds == 0).any() for inds in assigned)  # 0 is background
