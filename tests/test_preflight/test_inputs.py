"""Labels that the model or the metric would not ignore are refused, and only those."""

import cv2
import pytest
import torch.nn as nn
from mmengine.runner import Runner

pytest.importorskip('mmseg')

from diff2in1_mm.preflight import inputs as input_checks  # noqa: E402
from diff2in1_mm.preflight.inputs import check_inputs  # noqa: E402

from .. import tiny_runs as tiny  # noqa: E402


@pytest.fixture
def root(tmp_path):
    """Three classes, and a void that the maps number 3."""
    tiny.make_images(tmp_path / 'set', count=2)
    for path in (tmp_path / 'set/ann').rglob('*.png'):
        labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        labels[:4] = 3
        cv2.imwrite(str(path), labels)
    return tmp_path / 'set'


def check(root, head=255, metric=255, auxiliary=None, **options):
    cfg = tiny.config(root, root / 'w', iters=1, batch=2)
    one = cfg.model.decode_head
    if auxiliary is not None:
        cfg.model.auxiliary_head = [dict(one, ignore_index=index) for index in auxiliary]
    one.ignore_index = head
    cfg.val_evaluator.ignore_index = metric
    cfg.update(options)
    runner = Runner.from_cfg(cfg)
    runner.train_loop, runner.val_loop  # builds them
    check_inputs(runner)


def test_the_heads_and_the_metric_decide(root):
    check(root, head=3, metric=3)
    check(root, head=3, metric=3, auxiliary=[3, 3])


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(metric=3), r'ann/train/.*values 3, but.*ignored is 255 by `model.decode_head.ignore_'),
        (dict(head=3), 'ann/val/.*values 3, but.*ignored is 255 by `val_evaluator.ignore_index`'),
        (
            dict(head=3, metric=3, auxiliary=[3, 255]),
            r'3 by `model.decode_head.ignore_index`.* and 255 by `model.auxiliary_head\[1\].ignore_',
        ),
    ],
)
def test_the_option_is_named(root, options, words):
    with pytest.raises(ValueError, match=words):
        check(root, **options)


def test_a_check_is_switched_off_in_a_run(root):
    path = sorted((root / 'ann/train').iterdir())[0]
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[::2])
    with pytest.raises(ValueError, match=r"1 of 2 label maps .*preflight = dict\(skip=\['map_sizes'\]\) switches"):
        check(root, head=3, metric=3)
    check(root, head=3, metric=3, preflight=dict(skip=['map_sizes']))


def test_what_one_ignores_is_no_class_to_the_other(root):
    """As where a data set's void is 255 and only the head was changed."""
    for path in (root / 'ann').rglob('*.png'):
        labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        labels[labels == 3] = 255
        cv2.imwrite(str(path), labels)
    check(root)
    with pytest.raises(ValueError, match='values 255, but.*ignored is 3 by `model.decode_head'):
        check(root, head=3)


def headed(*indices):
    model = nn.Module()
    heads = [nn.Module() for _ in indices]
    for head, index in zip(heads, indices):
        head.ignore_index = index
    model.decode_head = heads[0] if len(heads) == 1 else nn.ModuleList(heads)
    return model


def test_cascades_keep_a_list_of_heads():
    assert input_checks._ignored_by_heads(headed(255, 3)) == {
        '`model.decode_head[0].ignore_index`': 255,
        '`model.decode_head[1].ignore_index`': 3,
    }


def test_models_that_do_not_say():
    assert input_checks._ignored_by_heads(nn.Conv2d(1, 1, 1)) == {}
    assert input_checks._ignored_by_heads(headed(None)) == {}  # as masked BCE wants it


def test_training_goes_on(root, tiny_create):
    cfg = tiny.config(root, root / 'w', iters=4, batch=2, hook=dict(warm_up=2))
    cfg.model.decode_head.ignore_index = cfg.val_evaluator.ignore_index = 3
    assert tiny.train(cfg).iter == 4
