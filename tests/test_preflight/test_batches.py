"""What comes out of a pipeline later is looked at too, and names its file."""

import copy
import pickle

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner

pytest.importorskip('mmseg')

from diff2in1_mm.preflight.batches import name_unreadable_files, watch_batches  # noqa: E402
from diff2in1_mm.preflight.inputs import watch_inputs  # noqa: E402
from diff2in1_mm.utils.errors import UnusableFileError, UserError  # noqa: E402

from .. import tiny_runs as tiny  # noqa: E402
from .sets import STRIPES, build, folder  # noqa: E402

LIMITS = {'`model.decode_head.ignore_index`': (3, 255)}


@TRANSFORMS.register_module(force=True)
class OneValueWrong:
    """What a transform of one's own may do to one image of many."""

    def __init__(self, field, value, image):
        self.field, self.value, self.image = field, value, image

    def __call__(self, results):
        if results['img_path'].endswith(self.image):
            results[self.field] = results[self.field].astype(np.float32 if self.field == 'img' else np.uint8)
            results[self.field][0, 0] = self.value
        return results


def runner_with(tmp_path, field, value, part='train'):
    root = tmp_path / 'set'
    tiny.make_images(root, count=4)
    cfg = tiny.config(root, tmp_path / 'w', iters=4, batch=2, hook=None)
    cfg.custom_hooks = [dict(type='CheckInputsHook', num_samples=1)]
    cfg.train_cfg.val_interval = 4
    loader = cfg[f'{part}_dataloader'].dataset
    while 'pipeline' not in loader:
        loader = loader.dataset
    image = sorted((root / 'img' / part).iterdir())[1].name
    loader.pipeline = [
        *loader.pipeline[:-1],
        dict(type='OneValueWrong', field=field, value=value, image=image),
        loader.pipeline[-1],
    ]
    return Runner.from_cfg(cfg), image


@pytest.mark.parametrize(
    'field, value, part, words',
    [
        ('gt_seg_map', 7, 'train', r'comes with \[7\], but the classes are 0 to 2.*decode_head.ignore_index` is 255'),
        ('gt_seg_map', 7, 'val', r'comes with \[7\], but the classes are 0 to 2.*val_evaluator.ignore_index` is 255'),
        ('img', np.nan, 'train', 'comes out of the pipeline with values that are not numbers'),
    ],
)
def test_a_run_names_the_file_of_a_bad_value(tmp_path, field, value, part, words):
    runner, image = runner_with(tmp_path, field, value, part)
    with pytest.raises(UserError, match=rf'img/{part}/{image}.*{words}'):
        runner.train()


def batch(labels, **metainfo):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=dict(img_path='a.png', **metainfo))
    sample.gt_sem_seg = PixelData(data=torch.as_tensor(labels)[None])
    return dict(inputs=[torch.zeros(3, 6, 8, dtype=torch.uint8)], data_samples=[sample])


def test_ignored_labels_pass_and_a_model_with_the_watch_is_pickled():
    from mmseg.models import SegDataPreProcessor

    model = torch.nn.Module()
    model.data_preprocessor = SegDataPreProcessor(size=(6, 8))
    for _ in range(2):
        watch_batches(model, LIMITS, {})
    assert len(model.data_preprocessor._forward_pre_hooks) == 1
    labels = STRIPES.copy()
    labels[0] = 255
    for preprocessor in (model.data_preprocessor, copy.deepcopy(model.data_preprocessor)):
        preprocessor(batch(labels), True)
        preprocessor(batch(labels + 1, seg_map_path='b.png'), training=False)
        with pytest.raises(UserError, match=r'a\.png and b\.png comes with \[3, 256\]'):
            preprocessor(batch(labels + 1, seg_map_path='b.png'), training=True)  # as DDP calls it
    pickle.dumps(model)


def test_boxes_that_are_no_numbers():
    from mmengine.structures import InstanceData
    from mmseg.models import SegDataPreProcessor

    model = torch.nn.Module()
    model.data_preprocessor = SegDataPreProcessor(size=(6, 8))
    watch_batches(model, {}, {})
    data = batch(STRIPES)
    data['data_samples'][0].gt_instances = InstanceData(bboxes=torch.tensor([[0.0, 0, 3, float('nan')]]))
    with pytest.raises(UserError, match=r'boxes of a\.png come out of the pipeline as no numbers'):
        model.data_preprocessor(data, True)


def test_a_decoder_that_does_not_name_its_file(tmp_path):
    dataset = build(folder(tmp_path, [STRIPES.astype('uint8')] * 3))
    name_unreadable_files(dataset)
    before = dataset[1]['inputs']
    path = tmp_path / 'annotations/1.png'
    path.write_bytes(cv2.imencode('.png', np.random.default_rng(0).integers(0, 3, (6, 8)))[1].tobytes()[:60])
    with pytest.raises(UnusableFileError, match=r'annotations/1\.png cannot be read \(.*repair the file'):
        dataset[1]
    assert before.shape == (3, 6, 8)


def test_data_sets_that_are_not_built_are_left_alone(tmp_path):
    tiny.make_images(tmp_path / 'set', count=2)
    watch_inputs(Runner.from_cfg(tiny.config(tmp_path / 'set', tmp_path / 'w', iters=1, batch=2)))
