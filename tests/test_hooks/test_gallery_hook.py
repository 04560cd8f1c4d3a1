"""The picture at the end of a run."""

import shutil

import cv2
import numpy as np

from diff2in1_mm.hooks import gallery

from ..test_self_improving.test_hook_whole_run import with_diffusion
from ..tiny_runs import train


def test_five_rows_a_column_per_sample_and_a_legend(images, tmp_path, pipeline_folder):
    cfg = with_diffusion(pipeline_folder, images, tmp_path, iters=5)
    cfg.custom_hooks.append(dict(type='GalleryHook', count=3))
    train(cfg)
    picture = cv2.imread(str(tmp_path / 'gallery.png'))
    height, width = picture.shape[:2]
    row = 192 + 4 + 14  # picture, margin, title
    assert height > 5 * row and width >= 3 * 192
    parts = [picture[i * row : (i + 1) * row] for i in range(5)]
    assert all(part.std() > 20 for part in parts)
    assert not np.array_equal(parts[0], parts[3])  # real and synthetic
    assert len(np.unique(picture[5 * row :].reshape(-1, 3), axis=0)) > 4  # white, black, and colours of classes
    for name in ('gallery', 'synthetic'):  # of the creation
        assert list(tmp_path.rglob(f'vis_image/{name}_*.png'))


def test_no_picture_without_synthetic_samples(images, tmp_path, pipeline_folder):
    cfg = with_diffusion(pipeline_folder, images, tmp_path, iters=5, hook=dict(creation=None))
    cfg.custom_hooks.append(dict(type='GalleryHook'))
    train(cfg)
    assert not (tmp_path / 'gallery.png').exists()


def test_no_picture_of_a_run_that_stopped_at_the_end_of_the_warm_up(images, tmp_path, pipeline_folder):
    cfg = with_diffusion(pipeline_folder, images, tmp_path, iters=8)
    cfg.custom_hooks += [
        dict(type='GalleryHook'),
        dict(type='EarlyStoppingHook', monitor='mIoU', rule='greater', stopping_threshold=0.0),
    ]
    assert train(cfg).iter == 4
    assert not (tmp_path / 'gallery.png').exists()


def test_a_damaged_label_map_costs_its_own_place_alone(images, tmp_path, pipeline_folder):
    data = shutil.copytree(images, tmp_path / 'data')
    (data / 'ann/train/3.png').write_bytes(b'no picture')
    cfg = with_diffusion(pipeline_folder, data, tmp_path / 'run', iters=5)
    cfg.custom_hooks.append(dict(type='GalleryHook', count=20))
    train(cfg)
    assert (tmp_path / 'run/gallery.png').exists()


def test_a_gallery_that_cannot_be_drawn_does_not_end_a_run(images, tmp_path, pipeline_folder, monkeypatch):
    cfg = with_diffusion(pipeline_folder, images, tmp_path, iters=5)
    cfg.custom_hooks.append(dict(type='GalleryHook'))
    monkeypatch.setattr(gallery, 'contact_sheet', lambda *args: 1 / 0)
    assert train(cfg).iter == 5
    assert not (tmp_path / 'gallery.png').exists()
    assert 'No gallery is drawn (ZeroDivisionError' in next(tmp_path.rglob('*.log')).read_text()
