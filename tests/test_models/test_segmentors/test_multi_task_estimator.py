"""Several tasks over one set of features are, task by task, what a model of each alone is."""

import math

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FPNHead
from mmseg.structures import SegDataSample

from diff2in1_mm.utils.errors import UserError

FPN = dict(
    in_channels=[8] * 3,
    in_index=[0, 1, 2],
    feature_strides=[4, 8, 16],
    channels=8,
    norm_cfg=dict(type='BN'),
    align_corners=False,
    dropout_ratio=0.0,
)
HEADS = dict(
    segmentation=dict(type='FPNHead', num_classes=5, **FPN),
    depth=dict(type='FPNDepthHead', **FPN),
    normals=dict(type='FPNNormalHead', **FPN),
)
ALONE = dict(segmentation='EncoderDecoder', depth='DepthMapEstimator', normals='NormalEstimator')
FIELDS = dict(segmentation='pred_sem_seg', depth='pred_depth_map', normals='pred_normal_map')
SIZE = (32, 48)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def build(pipeline_folder, kind='MultiTaskEstimator', **options):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            dict(
                type=kind,
                data_preprocessor=dict(type='SceneDataPreProcessor'),
                backbone=dict(type='DiffusionBackbone', diffusion=pipeline_folder),
                neck=dict(type='FPN', in_channels=[16, 24, 32], out_channels=8, num_outs=3),
                train_cfg=ConfigDict(),
                test_cfg=ConfigDict(mode='whole'),
            ),
            **options,
        )
    )


def alone(model, task, pipeline_folder, **options):
    """The model of one task with the same values."""
    single = build(pipeline_folder, ALONE[task], decode_head=HEADS[task], **options)
    single.neck.load_state_dict(model.neck.state_dict())
    single.decode_head.load_state_dict(model.heads[task].state_dict())
    return single


def samples(count=2, without=()):
    """Samples with the labels of all tasks, but for pairs (row, field) in ``without``."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for row in range(count):
        sample = SegDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE, pad_shape=SIZE))
        labels = dict(
            gt_sem_seg=torch.randint(0, 5, (1, *SIZE), generator=generator),
            gt_depth_map=1 + torch.rand(1, *SIZE, generator=generator),
            gt_normal_map=torch.nn.functional.normalize(torch.randn(3, *SIZE, generator=generator), dim=0),
        )
        sample.set_data({name: PixelData(data=d) for name, d in labels.items() if (row, name) not in without})
        found.append(sample)
    return found


def images(count=2):
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_losses_are_those_of_each_task_alone(pipeline_folder, counted):
    model = build(pipeline_folder, heads=HEADS, weights=dict(depth=0.5)).train()
    losses = model.loss(images(), samples())
    assert tuple(counted.values()) == (2, 2)  # VAE and U-Net, once an image for all tasks
    for task in HEADS:
        expected = alone(model, task, pipeline_folder).train().loss(images(), samples())
        for name, value in expected.items():
            own = name.removeprefix('decode.')
            factor = 0.5 if task == 'depth' and 'loss' in own else 1
            torch.testing.assert_close(losses[f'{task}.{own}'], value * factor, rtol=1e-5, atol=1e-6)
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_learned_weights_begin_as_the_formula_says(pipeline_folder):
    model = build(pipeline_folder, heads=HEADS, weights='uncertainty').train()
    plain = build(pipeline_folder, heads=HEADS).train().loss(images(), samples())
    with torch.no_grad():
        model.weights.log_variances['segmentation'].fill_(math.log(4))
    losses = model.loss(images(), samples())
    torch.testing.assert_close(losses['segmentation.loss_ce'], plain['segmentation.loss_ce'] / 4)
    torch.testing.assert_close(losses['segmentation.loss_uncertainty'], torch.tensor(math.log(2)))
    torch.testing.assert_close(losses['depth.loss_silog'], plain['depth.loss_silog'] / 2)
    torch.testing.assert_close(losses['segmentation.acc_seg'], plain['segmentation.acc_seg'])
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in model.weights.log_variances.values())


def test_a_task_that_no_image_of_a_batch_has_keeps_its_weight(pipeline_folder):
    model = build(pipeline_folder, heads=HEADS, weights='uncertainty').train()
    losses = model.loss(images(), samples(without=[(0, 'gt_depth_map'), (1, 'gt_depth_map')]))
    model.parse_losses(losses)[0].backward()
    grads = {task: p.grad.item() for task, p in model.weights.log_variances.items()}
    assert grads['depth'] == 0 and grads['segmentation'] != 0


def test_a_sample_counts_for_the_labels_that_it_has(pipeline_folder):
    model = build(pipeline_folder, heads=HEADS).eval()  # batch norm would see other batches
    without = [(0, 'gt_depth_map'), (0, 'gt_normal_map'), (1, 'gt_normal_map')]
    losses = model.loss(images(), samples(without=without))
    second = model.loss(images()[1:], samples()[1:])
    torch.testing.assert_close(losses['depth.loss_silog'], second['depth.loss_silog'])
    both = model.loss(images(), samples())
    torch.testing.assert_close(losses['segmentation.loss_ce'], both['segmentation.loss_ce'])
    assert losses['normals.loss_absent'] == 0
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in model.heads['normals'].parameters())


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_predictions_are_those_of_each_task_alone(pipeline_folder, mode, flip):
    test_cfg = ConfigDict(mode=mode, crop_size=(32, 32), stride=(16, 16), flip=flip)
    model = build(pipeline_folder, heads=HEADS, test_cfg=test_cfg).eval()
    # as the pipeline notes of an image that was mirrored and made smaller
    metas = samples()
    for sample in metas:
        sample.set_metainfo(dict(ori_shape=(40, 60), flip=True, flip_direction='horizontal'))
    found = model.predict(images(), metas)
    for task, field in FIELDS.items():
        if task == 'segmentation' and flip:  # MMSegmentation's own segmentors know no mirrored pass
            continue
        single = alone(model, task, pipeline_folder, test_cfg=test_cfg).eval()
        for own, other in zip(found, single.predict(images(), [sample.new() for sample in metas])):
            assert own.get(field).data.shape[-2:] == (40, 60)
            if task == 'segmentation':
                agree = own.get(field).data == other.get(field).data
                assert agree.float().mean() > 0.999  # scores that are equal but for rounding
            else:
                torch.testing.assert_close(own.get(field).data, other.get(field).data, rtol=1e-4, atol=1e-5)


def test_windows_of_large_images_are_few_at_once(pipeline_folder):
    test_cfg = ConfigDict(mode='slide', crop_size=(32, 32), stride=(16, 16), flip=True)
    # normals of an untrained head are short, and their direction magnifies what float32 rounds
    model = build(pipeline_folder, heads=HEADS, test_cfg=test_cfg).eval().double()
    inputs = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2)).double() * 2 - 1
    calls, encode_decode = [], model.encode_decode
    model.encode_decode = lambda x, metas: calls.append(len(x)) or encode_decode(x, metas)
    with torch.no_grad():
        few = model.inference(inputs, [{}] * 2)
        assert calls == [*[8] * 7, 4]  # of 2 images, 15 windows and as many mirror images
        model.test_cfg.window_batch = 60
        torch.testing.assert_close(few, model.inference(inputs, [{}] * 2), atol=1e-5, rtol=1e-5)
    assert calls[8:] == [60]


def test_features_are_shared_within_the_block_only(pipeline_folder, counted):
    model = build(pipeline_folder, heads=HEADS).eval()
    inputs = images()
    with torch.no_grad(), model.features_shared():
        maps = {task: model.of_task(task).encode_decode(inputs, [dict(img_shape=SIZE)] * 2) for task in HEADS}
        assert tuple(counted.values()) == (2, 2)
        model.of_task('depth').encode_decode(inputs.clone(), [dict(img_shape=SIZE)] * 2)
        assert tuple(counted.values()) == (4, 4)
    with torch.no_grad():
        whole = model.encode_decode(inputs, [dict(img_shape=SIZE)] * 2)
        assert tuple(counted.values()) == (6, 6)
    torch.testing.assert_close(torch.cat(list(maps.values()), 1), whole)


BINARY = dict(
    type='FPNHead', num_classes=2, out_channels=1, threshold=0.5, loss_decode=dict(type='BalancedBCELoss'), **FPN
)
SIX = dict(HEADS, parts=dict(type='FPNHead', num_classes=4, **FPN), boundaries=BINARY, saliency=BINARY)
INDICES = dict(gt_part_map=4, gt_boundary_map=2, gt_saliency_map=2)
ONE_MAP = dict(FPN, in_channels=[16], in_index=[0], feature_strides=[4])
INVPT = dict(type='InvPTHead', in_channels=[8, 8, 4], channels=8, width=16)
CROSSED = {task: dict(head, **ONE_MAP) for task, head in SIX.items()}


def six_labels(count=2, without=()):
    """Samples with all six labels, a corner of which does not count."""
    generator = torch.Generator().manual_seed(3)
    found = samples(count, without)
    for row, sample in enumerate(found):
        for name, classes in INDICES.items():
            data = torch.randint(0, classes, (1, *SIZE), generator=generator)
            data[:, :4, :4] = 255
            if (row, name) not in without:
                sample.set_data({name: PixelData(data=data)})
    return found


def test_parts_boundaries_and_saliency_are_learned_with_stock_heads(pipeline_folder):
    model = build(pipeline_folder, heads=SIX).train()
    labels = six_labels()
    losses = model.loss(images(), labels)
    assert 'parts.acc_seg' in losses and 'boundaries.acc_seg' not in losses
    for task, field, kind in (('parts', 'gt_part_map', 'loss_ce'), ('saliency', 'gt_saliency_map', 'loss_bce')):
        single = build(pipeline_folder, 'EncoderDecoder', decode_head=SIX[task]).train()
        single.neck.load_state_dict(model.neck.state_dict())
        single.decode_head.load_state_dict(model.heads[task].state_dict())
        for sample in labels:
            sample.gt_sem_seg = sample.get(field)
        torch.testing.assert_close(losses[f'{task}.{kind}'], single.loss(images(), labels)[f'decode.{kind}'])
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    (found, _) = model.eval().predict(images(), samples())
    assert found.pred_part_map.data.max() < 4
    for name in ('pred_boundary_map', 'pred_saliency_map'):
        data = found.get(name).data
        assert data.shape == (1, *SIZE) and 0 <= data.min() and data.max() <= 1


@pytest.mark.parametrize(
    'cross',
    [
        dict(type='InvPTHead', channels=8, width=16),
        dict(type='TaskPrompterHead', channels=16, width=16, layers=1, num_heads=4, level=1),
    ],
    ids=lambda cross: cross['type'],
)
def test_tasks_learn_and_predict_over_a_cross_task_decoder(cross, pipeline_folder, counted):
    cross = dict(cross, in_channels=[8, 8, 8])
    model = build(pipeline_folder, heads=CROSSED, cross_task=cross).train()
    losses = model.loss(images(), six_labels(without=[(0, 'gt_depth_map'), (1, 'gt_depth_map')]))
    assert tuple(counted.values()) == (2, 2)
    early = {name for name in losses if '.early.' in name}
    assert (early == set()) == (cross['type'] == 'TaskPrompterHead')
    assert 'depth.loss_absent' in losses and ('parts.early.loss_ce' in early) == bool(early)
    model.parse_losses(losses)[0].backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    model.eval()
    inputs = images()
    with torch.no_grad(), model.features_shared():
        alone = [model.of_task(task).encode_decode(inputs, [dict(img_shape=SIZE)] * 2) for task in CROSSED]
    assert tuple(counted.values()) == (4, 4)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(alone, 1), model.encode_decode(inputs, [dict(img_shape=SIZE)] * 2))


def test_gradnorm_lets_the_largest_gradient_count_less(pipeline_folder):
    model = build(pipeline_folder, heads=HEADS, weights='gradnorm').train()
    optimizer = torch.optim.Adam(model.weights.parameters(), lr=0.15)
    labels = samples()

    def step():
        losses = model.loss(images(), labels)
        optimizer.zero_grad()
        model.parse_losses(losses)[0].backward()
        optimizer.step()
        return float(losses['segmentation.loss_gradnorm'])

    first = step()
    assert (model.weights.first_losses > 0).all()
    assert min(step() for _ in range(8)) < 0.7 * first
    weights = len(HEADS) * model.weights.logits.softmax(0)
    assert weights.max() > 1.05 and weights.min() < 0.95
    with torch.no_grad():  # as losses are measured beside the training
        assert 'segmentation.loss_gradnorm' not in model.loss(images(), labels)
    with pytest.raises(ValueError, match='give the model a neck'):
        model.weights({task: dict(loss=torch.ones(())) for task in HEADS}, [torch.ones(1)])


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(heads={}), 'heads by task'),
        (dict(heads=HEADS, decode_head=HEADS['depth']), 'without decode_head'),
        (dict(heads=dict(pose=HEADS['depth'])), "must be one of .'segmentation', 'depth', 'normals'.*, not 'pose'"),
        (
            dict(heads=HEADS, weights=dict(pose=1.0)),
            "'uncertainty' or 'gradnorm', or a number >= 0 for each of segmentation, depth",
        ),
        (dict(heads=HEADS, weights=dict(depth=-1)), 'a number >= 0'),
        (dict(heads=HEADS, weights='learned'), "not 'learned'"),
        (dict(heads=dict(boundaries=dict(type='FPNHead', num_classes=2, **FPN))), 'boundaries has 2 channels'),
        (dict(heads=None), 'heads = None of MultiTaskEstimator must be a dict from tasks'),
        (dict(heads=dict(depth=None)), 'heads.depth = None of MultiTaskEstimator must be a config with its type'),
        (dict(heads=HEADS, cross_task='InvPTHead'), "cross_task = 'InvPTHead' of MultiTaskEstimator must be a config"),
        (
            dict(heads=dict(normals=dict(type='FPNHead', num_classes=3, **FPN))),
            'heads.normals of MultiTaskEstimator is FPNHead, which learns classes: .* learns normals, such as FPNNorm',
        ),
        (dict(heads=dict(segmentation=HEADS['depth'])), 'is FPNDepthHead, which learns depth: .* such as FPNHead'),
        (
            dict(heads=dict(depth=dict(type='IDiscHead', task='normals', in_channels=8))),
            'heads.depth .* is IDiscHead, which learns normals: .* such as FPNDepthHead',
        ),
        (dict(heads=HEADS, test_cfg=dict(window_bach=2)), "MultiTaskEstimator has no option 'window_bach'"),
        (dict(heads=CROSSED, cross_task=INVPT), r'in_channels = \[8, 8, 4\] of InvPTHead do not fit .* \[8, 8, 8\]'),
        (dict(heads=CROSSED, cross_task=INVPT, neck=None), r'InvPTHead do not fit .* \[16, 24, 32\] channels'),
    ],
)
def test_bad_options(pipeline_folder, options, words):
    with pytest.raises(UserError, match=words):
        build(pipeline_folder, **options)


def test_a_head_of_ones_own_may_learn_anything(pipeline_folder):
    class Own(FPNHead):
        def loss_by_feat(self, seg_logits, batch_data_samples):
            return dict(loss=seg_logits.sum())

    head = dict(type=Own, num_classes=3, **FPN)
    assert isinstance(build(pipeline_folder, heads=dict(normals=head)).heads['normals'], Own)


def test_parameters_have_one_order_whatever_that_of_the_config(pipeline_folder):
    # a dumped config is sorted, and an optimizer that is resumed knows parameters by their places
    sets = HEADS, dict(sorted(HEADS.items())), dict(reversed(HEADS.items()))
    names = [[name for name, _ in build(pipeline_folder, heads=heads).named_parameters()] for heads in sets]
    assert names[0] == names[1] == names[2]
