"""Pictures of depth and normals: order of the colours, the scale, invalid pixels, both at once."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

pytest.importorskip('mmseg')

from mmseg.structures import SegDataSample  # noqa: E402

from diff2in1_mm.utils.pictures import depth_picture, normals_picture  # noqa: E402
from diff2in1_mm.visualization.scene_visualizer import SceneLocalVisualizer  # noqa: E402

IMAGE = np.zeros((120, 160, 3), np.uint8)


def lightness(picture):
    return cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 0].astype(int)


def test_axes_are_colours():
    axes = np.eye(3, dtype=np.float32)[:, None]  # (3, 1, 3): the pixels are x, y and z
    assert normals_picture(axes)[0].tolist() == [[255, 128, 128], [128, 255, 128], [128, 128, 255]]
    assert normals_picture(-axes)[0, 0].tolist() == [0, 128, 128]
    assert normals_picture(axes * 0).max() == 0


def test_near_is_bright_and_invalid_is_black():
    depth = np.tile(np.linspace(0.1, 10, 160, dtype=np.float32), (120, 1))
    depth[:10] = 0
    plain = depth_picture(depth, scale=False)
    assert plain[:10].max() == 0 and (plain[10:].max(axis=2) > 40).all()
    steps = np.diff(lightness(plain)[60])
    assert steps.max() <= 0 and steps.sum() < -150  # a perceptual map: ever darker
    assert np.array_equal(depth_picture(depth[None], scale=False), plain)


def test_the_bar_says_how_far():
    depth = np.full((120, 160), 5, np.float32)
    with_bar, plain = depth_picture(depth, 10), depth_picture(depth, 10, scale=False)
    changed = (with_bar != plain).any(axis=(1, 2))
    assert not changed[:100].any() and changed[-14:].all()
    bar = lightness(with_bar)[-14:]
    assert bar[:, 60].mean() > bar[:, 110].mean() + 20
    # the far end of the bar differs only by its number
    differs = (with_bar != depth_picture(depth * 2, 20)).any(axis=(1, 2))
    assert differs[100:].any() and not differs[:100].any()


def test_small_pictures_have_no_bar_and_nothing_valid_is_black():
    assert depth_picture(np.full((20, 20), 1, np.float32)).shape == (20, 20, 3)
    assert depth_picture(np.zeros((120, 160), np.float32), scale=False).max() == 0


def drawn(tmp_path, sample, **options):
    path = str(tmp_path / 'drawn.png')
    SceneLocalVisualizer().add_datasample('x', IMAGE, sample, out_file=path, **options)
    return cv2.imread(path)[..., ::-1]


def test_truth_and_prediction_of_normals_stand_beside_each_other(tmp_path):
    sample = SegDataSample()
    for kind in ('gt', 'pred'):
        data = torch.nn.functional.normalize(torch.randn(3, 120, 160), dim=0)
        sample.set_data({f'{kind}_normal_map': PixelData(data=data)})
    picture = drawn(tmp_path, sample)
    assert picture.shape == (120, 320, 3)
    assert np.array_equal(picture[:, :160], normals_picture(sample.gt_normal_map.data.numpy()))
    assert np.array_equal(picture[:, 160:], normals_picture(sample.pred_normal_map.data.numpy()))
    assert drawn(tmp_path, sample, draw_gt=False).shape == (120, 160, 3)


def test_truth_and_prediction_of_depth_share_one_scale(tmp_path):
    sample = SegDataSample()
    sample.gt_depth_map = PixelData(data=torch.full((1, 120, 160), 4.0))
    sample.pred_depth_map = PixelData(data=torch.full((1, 120, 160), 2.0))
    sample.gt_depth_map.data[:, 0] = 8
    picture = drawn(tmp_path, sample)
    half, quarter = depth_picture(np.array([[4.0, 2.0]]), 8)[0]
    assert (picture[60, 80] == half).all() and (picture[60, 240] == quarter).all()


def test_truth_without_a_valid_pixel_leaves_the_scale_to_the_prediction(tmp_path):
    sample = SegDataSample()
    sample.gt_depth_map = PixelData(data=torch.zeros(1, 120, 160))
    sample.pred_depth_map = PixelData(data=torch.full((1, 120, 160), 2.0))
    picture = drawn(tmp_path, sample)
    assert picture.shape == (120, 320, 3)
    assert np.array_equal(picture[:, :160], depth_picture(np.zeros((120, 160)), 2.0))
    assert np.array_equal(picture[:, 160:], depth_picture(np.full((120, 160), 2.0), 2.0))


def test_label_maps_are_drawn_as_before(tmp_path):
    visualizer = SceneLocalVisualizer(alpha=1)
    visualizer.dataset_meta = dict(classes=('a', 'b'), palette=[(255, 0, 0), (0, 0, 255)])
    sample = SegDataSample(pred_sem_seg=PixelData(data=torch.ones(1, 120, 160, dtype=torch.long)))
    path = str(tmp_path / 'labels.png')
    visualizer.add_datasample('x', IMAGE, sample, draw_gt=False, out_file=path, with_labels=False)
    assert (cv2.imread(path)[..., ::-1] == (0, 0, 255)).all()


def test_several_kinds_of_labels_have_a_row_each(tmp_path):
    sample = SegDataSample()
    here = torch.zeros(1, 120, 160)
    here[..., :80] = 1
    sample.set_data(
        dict(
            gt_sem_seg=PixelData(data=here.long()),
            pred_sem_seg=PixelData(data=1 - here.long()),
            pred_part_map=PixelData(data=here.long()),
            gt_boundary_map=PixelData(data=here.long()),
            pred_boundary_map=PixelData(data=0.5 * here),
            pred_depth_map=PixelData(data=1 + here),
        )
    )
    picture = drawn(tmp_path, sample)
    assert picture.shape == (4 * 120, 320, 3)
    labels, parts, depth, boundaries = np.split(picture, 4)
    assert np.array_equal(labels[:, :80], labels[:, 240:]) and not np.array_equal(labels[:, :80], labels[:, 80:160])
    assert (parts[:, 160:] == 255).all() and (depth[:, 160:] == 255).all()  # without truth
    assert boundaries[0, 0].tolist() == [255] * 3 and boundaries[0, 160].tolist() == [128] * 3
    assert boundaries[:, 80:160].max() == 0
    assert drawn(tmp_path, sample, draw_pred=False).shape == (2 * 120, 160, 3)


def test_label_maps_without_a_canvas_are_what_the_library_draws():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    labels = torch.from_numpy(random.integers(0, 5, (1, 40, 60)))
    labels[:, :5] = 255
    sample = SegDataSample(gt_sem_seg=PixelData(data=labels), pred_sem_seg=PixelData(data=4 - labels.clamp(max=4)))
    visualizer = SceneLocalVisualizer(alpha=0.4)
    visualizer.dataset_meta = dict(classes=list('abcde'), palette=[[50 * i, 20, 200 - 50 * i] for i in range(5)])
    for kind in ('gt', 'pred'):
        draw = dict(draw_gt=kind == 'gt', draw_pred=kind == 'pred')
        visualizer.add_datasample('x', image, sample, with_labels=False, **draw)
        by_library = visualizer.get_image().astype(int)
        found = visualizer.picture(image, sample, [kind])
        assert abs(found - by_library).max() <= 1  # rounded, where the library cuts off
    both = visualizer.picture(image, sample, ['gt', 'pred'])
    assert np.array_equal(both[:, 60:], found) and both.shape == (40, 120, 3)


def test_a_sample_with_nothing_to_show_is_its_image():
    assert SceneLocalVisualizer().picture(IMAGE, SegDataSample()) is IMAGE
