"""All kinds of labels follow a flip, a turn and a scale together."""

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, init_default_scope

pytest.importorskip('mmseg')


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def scene(size=(20, 30)):
    """A bright column that is a class, a boundary, salient, near, and faces right."""
    here = np.zeros(size, bool)
    here[:, 4:8] = True
    normals = np.zeros((*size, 3), np.float32)
    normals[..., 2], normals[here] = 1, (1, 0, 0)
    maps = {f'gt_{name}_map': here.astype(np.uint8) for name in ('part', 'boundary', 'saliency')}
    depth = np.where(here, 2, 4).astype(np.float32)
    fields = dict(maps, gt_seg_map=here.astype(np.uint8), gt_depth_map=depth, gt_normal_map=normals)
    return dict(
        fields,
        img=np.repeat(here[..., None], 3, 2).astype(np.uint8) * 255,
        img_shape=size,
        ori_shape=size,
        seg_fields=list(fields),
        largest_depth=4.0,
        img_path='a.png',
    )


def check(sample, image, near):
    """Every label has its column where the picture has it."""
    here = np.asarray(image[0]) > 127
    known = sample.gt_sem_seg.data[0].numpy() != 255
    for field in ('gt_sem_seg', 'gt_part_map', 'gt_boundary_map', 'gt_saliency_map'):
        data = sample.get(field).data[0].numpy()
        assert data.shape == here.shape and (data[known] == here[known]).mean() > 0.95
        assert set(np.unique(data)) <= {0, 1, 255}
    depth, normals = sample.gt_depth_map.data[0].numpy(), sample.gt_normal_map.data.numpy()
    np.testing.assert_allclose(np.unique(depth[depth > 0]), [near, 2 * near], rtol=1e-5)
    assert ((depth[known] == depth[depth > 0].min()) == here[known]).mean() > 0.95
    assert (np.abs(normals[0][here & known]) > 0.9).mean() > 0.8
    return normals[0][here & known]


@pytest.mark.parametrize('divide', [True, False])
def test_a_scale(divide):
    np.random.seed(0)
    packed = Compose([dict(type='ScaleScene', ratio_range=(2, 2), divide_depth=divide), dict(type='PackSceneInputs')])
    result = packed(scene())
    assert result['inputs'].shape[1:] == (40, 60)
    assert (check(result['data_samples'], result['inputs'], 1 if divide else 2) > 0).all()


def test_a_flip_and_a_turn():
    np.random.seed(0)
    steps = [
        dict(type='ScaleScene', ratio_range=(0.9, 1.6)),
        dict(type='RotateScene', prob=1.0, degree=(8, 8)),
        dict(type='RandomFlip', prob=1.0),
        dict(type='PackSceneInputs'),
    ]
    result = Compose(steps)(scene())
    factor = result['inputs'].shape[1] / 20
    sample = result['data_samples']
    near = float(sample.gt_depth_map.data[sample.gt_depth_map.data > 0].min())
    assert (check(sample, result['inputs'], near) < 0).mean() > 0.8  # but for pixels at the edge
    assert 2 * near == pytest.approx(4 / factor, rel=0.03)


@pytest.mark.parametrize('ratio', [(2, 1), (0, 1), (1,), ('a', 2)])
def test_bad_ratios(ratio):
    with pytest.raises(ValueError, match='ratio_range of ScaleScene'):
        TRANSFORMS.build(dict(type='ScaleScene', ratio_range=ratio))


def test_depth_of_mmsegmentations_own_loader():
    """It does not say how far depth can be."""
    results = scene()
    del results['largest_depth']
    found = TRANSFORMS.build(dict(type='ScaleScene', ratio_range=(2, 2)))(results)
    assert np.unique(found['gt_depth_map']).tolist() == [1, 2] and 'largest_depth' not in found
