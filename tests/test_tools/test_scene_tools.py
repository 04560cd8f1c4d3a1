"""Normals and depth through the tools: create_data.py, test.py, and demo/image_demo.py."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import diff2in1_mm
from diff2in1_mm.store.store import SyntheticStore
from diff2in1_mm.tasks.normals import decode_normals
from diff2in1_mm.utils.pictures import depth_picture, normals_picture

from ..stores import read_one
from ..test_demo import tiny
from ..test_demo.conftest import demo  # noqa: F401
from ..tiny_scenes import METRICS, SIZE, scene_config
from ..versions import before
from .test_train import tool, write


@pytest.fixture(scope='module', params=['normals', 'depth', 'bae'])
def trained(request, tmp_path_factory, pipeline_folder):
    """Config and checkpoint of a small estimator, as a run leaves them."""
    task = 'normals' if request.param == 'bae' else request.param
    folder = tmp_path_factory.mktemp(request.param)
    cfg = scene_config(folder / 'rooms', folder / 'run', task, pipeline_folder, bae=request.param == 'bae')
    cfg.default_hooks.visualization = dict(type='SegVisualizationHook', interval=1)
    cfg.visualizer = dict(type='SceneLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
    config = write(cfg, folder)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), folder / 'w.pth')
    return SimpleNamespace(task=task, config=config, checkpoint=str(folder / 'w.pth'))


def test_create_data(trained, tmp_path):
    tool('create_data').main(
        [trained.config, trained.checkpoint, '--out', str(tmp_path / 's'), '--limit', '3', '--device', 'cpu']
    )
    store = SyntheticStore(tmp_path / 's')
    assert store.tasks == (trained.task,) and len(store) == 3 and (tmp_path / 's/preview.png').exists()
    image, annotation = read_one(store, store.records()[0])
    assert annotation.shape == (*SIZE, 3)[: annotation.ndim] and image.shape == (*SIZE, 3)


def test_test_writes_figures_files_and_pictures(trained, tmp_path):
    tool('test').main(
        [
            trained.config,
            trained.checkpoint,
            '--work-dir',
            str(tmp_path / 'run'),
            '--out',
            str(tmp_path / 'maps'),
            '--show-dir',
            str(tmp_path / 'shown'),
        ]
    )
    figures = json.loads(next((tmp_path / 'run').glob('*/*.json')).read_text())
    assert 0 < figures['rmse'] < 180
    files = sorted((tmp_path / 'maps').iterdir())
    assert len(files) == 4
    values = cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16 and values.shape[:2] == SIZE
    if trained.task == 'normals':
        length = np.linalg.norm(values / 65535 * 2 - 1, axis=2)
        np.testing.assert_allclose(length, 1, atol=1e-4)
    else:
        assert 0 < values.min() and values.max() <= 20000
    shown = list((tmp_path / 'shown').glob('**/*.png'))
    assert shown and cv2.imread(str(shown[0])).shape == (SIZE[0], 2 * SIZE[1], 3)


def test_averaging_with_the_mirrored_image(trained, tmp_path, capsys):
    common = [trained.config, trained.checkpoint, '--work-dir', str(tmp_path / 'run')]
    with pytest.raises(SystemExit):
        tool('test').main([*common, '--tta'])
    assert 'model.test_cfg.flip=True' in capsys.readouterr().err
    tool('test').main([*common, '--cfg-options', 'model.test_cfg.flip=True'])


def test_the_demo_draws_what_the_model_predicts(trained, demo, tmp_path, capsys):  # noqa: F811
    from mmseg.apis import inference_model

    photo = tiny.write_photo(tmp_path / 'photo.png', size=(96, 120))
    demo.main(
        [
            photo,
            trained.config,
            trained.checkpoint,
            '--out-dir',
            str(tmp_path / 'out'),
            '--generate',
            '--T',
            '100',
            '--copies',
            '1',
            '--steps',
            '1',
            '--device',
            'cpu',
        ]
    )
    drawn = cv2.imread(str(tmp_path / 'out/photo.png'))[..., ::-1]
    assert drawn.shape == (96, 120, 3)
    assert (tmp_path / 'out/photo_variants.png').exists()
    predictor = demo.predictor_for(demo.load_config(demo.parse_args([photo, trained.config])), trained.checkpoint)
    sample = inference_model(predictor.model, photo)
    if trained.task == 'normals':
        expected = normals_picture(sample.pred_normal_map.data.numpy())
    else:
        expected = depth_picture(sample.pred_depth_map.data.numpy(), float(sample.pred_depth_map.data.max()))
    around = np.ones((3, 3) if before('matplotlib', '3.11') else (1, 1), np.uint8)  # the earlier moves by a pixel
    low, high = cv2.erode(expected, around).astype(int), cv2.dilate(expected, around).astype(int)
    assert (drawn >= low - 1).all() and (drawn <= high + 1).all()


def test_pictures_of_normals_decode_as_normals():
    """Red, green and blue are x, y and z: the picture is an 8-bit file that LoadNormals reads."""
    vectors = torch.nn.functional.normalize(torch.randn(3, 9, 8), dim=0).numpy()
    vectors[:, 0, 0] = 0
    back = decode_normals(normals_picture(vectors))
    np.testing.assert_allclose(back, vectors.transpose(1, 2, 0), atol=8e-3)
    assert (normals_picture(vectors)[0, 0] == 0).all()


def test_single_images_need_no_annotation(trained, tmp_path):
    """MMSegmentation's own ways of predicting build the test pipeline of the config."""
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    photo = tiny.write_photo(tmp_path / 'photo.png', size=(96, 120))
    name = 'pred_normal_map' if trained.task == 'normals' else 'pred_depth_map'
    loading = dict(type='LoadNormals' if trained.task == 'normals' else 'LoadDepth')
    pipeline = [dict(type='LoadImageFromFile'), loading, dict(type='PackSceneInputs')]
    config = tmp_path / 'one.py'
    config.write_text(f'_base_ = {trained.config!r}\ntest_pipeline = {pipeline!r}\n')
    model = init_model(str(config), trained.checkpoint, 'cpu')
    expected = inference_model(model, photo).get(name).data
    assert expected.shape[-2:] == (96, 120)
    sample = MMSegInferencer(str(config), trained.checkpoint, device='cpu')(photo, return_datasamples=True)
    assert torch.equal(sample.get(name).data, expected)


def test_samples_of_a_data_set_must_name_their_annotation():
    from diff2in1_mm.datasets.transforms.loading import LoadDepth, LoadNormals

    for loader, key in ((LoadDepth(), 'depth_map_path'), (LoadNormals(), 'normal_map_path')):
        assert loader.transform(dict(img_path='a.png')) == dict(img_path='a.png')
        with pytest.raises(ValueError, match=f'sample 7 .a.png. of the data set has no {key!r}'):
            loader.transform(dict(img_path='a.png', sample_idx=7))


def test_predictions_are_written_with_a_tuple_of_evaluators(trained, tmp_path):
    config = tmp_path / 'several.py'
    metric = METRICS[trained.task]
    config.write_text(f'_base_ = {trained.config!r}\ntest_evaluator = ({metric!r},)\n')
    args = [str(config), trained.checkpoint, '--work-dir', str(tmp_path / 'run'), '--out', str(tmp_path / 'maps')]
    tool('test').main(args)
    assert len(list((tmp_path / 'maps').iterdir())) == 4


def test_predictions_of_several_tasks_lie_apart(tmp_path):
    """Their files have the same names."""
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_rooms_multitask.py'))
    tool('test')._write_predictions(cfg, str(tmp_path / 'out'))
    folders = [
        Path(metric['output_dir']).relative_to(tmp_path / 'out').as_posix() for metric in cfg.test_evaluator.metrics
    ]
    assert folders == ['segmentation', 'depth', 'normals', 'boundaries', 'saliency']
