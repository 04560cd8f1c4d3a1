"""Predictions as files: named after their images, and none over another."""

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

import diff2in1_mm  # noqa: F401
from diff2in1_mm.tasks.depth import DepthTask


def evaluate(folder, images):
    """Depth of 1, 2, 3, ... metres for images of these names; gives what the files hold."""
    metric = METRICS.build(dict(type='DepthErrors', output_dir=str(folder)))
    for number, image in enumerate(images, 1):
        metric.process({}, [sample(image, number)])
    metric.evaluate(len(images))
    return {
        str(path.relative_to(folder)): round(float(DepthTask().decode(path).mean()), 3)
        for path in folder.rglob('*')
        if not path.is_dir()
    }


def sample(image, metres):
    depth = torch.full((1, 4, 4), float(metres))
    return dict(img_path=image, pred_depth_map=dict(data=depth), gt_depth_map=dict(data=depth))


@pytest.mark.parametrize(
    'images, names',
    [
        (['d/0.jpg', 'd/1.jpg'], ['0.png', '1.png']),
        (['d/a/0.jpg', 'd/b/1.jpg'], ['0.png', '1.png']),
        (['d/a/0.jpg', 'd/b/0.jpg', 'd/b/c/1.jpg'], ['a/0.png', 'b/0.png', 'b/c/1.png']),
        (['/x/x/0.jpg', '/x/0.jpg'], ['x/0.png', '0.png']),
        (['d/0.jpg', 'd/0.png'], ['0.jpg.png', '0.png.png']),
        (['../0.jpg'], ['0.png']),
    ],
)
def test_names(tmp_path, images, names):
    assert evaluate(tmp_path, images) == {name: i for i, name in enumerate(names, 1)}
    assert not (tmp_path / 'unfinished').exists()


def test_another_evaluation_writes_its_own(tmp_path):
    evaluate(tmp_path, ['d/0.jpg', 'd/1.jpg'])
    assert evaluate(tmp_path, ['e/1.jpg']) == {'0.png': 1, '1.png': 1}


def test_an_evaluation_that_is_stopped_keeps_what_it_wrote(tmp_path):
    metric = METRICS.build(dict(type='DepthErrors', output_dir=str(tmp_path)))
    metric.process({}, [sample('/d/a/0.jpg', 1), sample('/d/b/0.jpg', 2)])
    for folder, metres in (('a', 1), ('b', 2)):
        path = tmp_path / f'unfinished/d/{folder}/0.jpg.png'
        np.testing.assert_allclose(DepthTask().decode(path), metres)
    assert evaluate(tmp_path, ['/d/a/1.jpg'])['1.png'] == 1


def test_metrics_that_share_a_folder(tmp_path):
    metrics = [METRICS.build(dict(type='DepthErrors', output_dir=str(tmp_path), crop=crop)) for crop in (None, 'bts')]
    for metric in metrics:
        metric.process({}, [sample('d/0.jpg', 1)])
    for metric in metrics:
        metric.evaluate(1)
    assert [path.name for path in tmp_path.iterdir()] == ['0.png']
