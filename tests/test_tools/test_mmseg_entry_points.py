"""MMSegmentation's own tools and API with our modules, as somebody uses them who has a config."""

import os
import os.path as osp
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import diff2in1_mm  # noqa: F401  (torch.load takes MMEngine's checkpoints)
from diff2in1_mm.utils.compat import load_weights_only
from diff2in1_mm.utils.requirements import uses_forks
from tests.small_models import save_tiny_pipeline
from tests.test_demo import tiny

from ..stores import records_written

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip('mmseg')


def readme_config(pipeline: str) -> str:
    """The example of the README that switches a stock config over, with a small diffusion model."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    text = next(block for block in blocks if '_delete_' in block and 'mmseg::' in block)
    source = 'stable-diffusion-v1-5/stable-diffusion-v1-5'
    assert source in text and "dtype='bf16'" in text
    return text.replace(source, pipeline).replace("dtype='bf16'", "dtype='fp32'")


@pytest.fixture(scope='module')
def trained(tmp_path_factory, pipeline_folder):
    """Config and checkpoint of a small segmentor, and a photograph."""
    folder = tmp_path_factory.mktemp('trained')
    config = tiny.write_config(folder, pipeline_folder)
    return (config, tiny.write_checkpoint(config, folder / 'weights.pth'), tiny.write_photo(folder / 'photo.png'))


def test_checkpoint_holds_no_frozen_weights(trained):
    weights = load_weights_only(trained[1])['state_dict']
    kept = [key for key in weights if key.startswith('backbone.')]
    assert kept == ['backbone.frozen_fingerprint']


def test_inferencer_and_inference_model_agree(trained, tmp_path):
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    config, checkpoint, photo = trained
    model = init_model(config, checkpoint, device='cpu')
    assert model.dataset_meta['classes'] == tiny.CLASSES
    labels = inference_model(model, photo).pred_sem_seg.data[0].numpy()
    assert labels.shape == (60, 90) and len(np.unique(labels)) > 1

    inferencer = MMSegInferencer(config, checkpoint, device='cpu')
    result = inferencer(photo, out_dir=str(tmp_path))
    assert (result['predictions'] == labels).all()
    assert osp.isfile(tmp_path / 'vis' / 'photo.png')
    # the raw image takes the same way
    assert (inferencer(cv2.imread(photo))['predictions'] == labels).all()


def test_checkpoint_of_another_diffusion_model_is_refused(trained, tmp_path):
    from mmseg.apis import init_model

    config, checkpoint, _ = trained
    other = save_tiny_pipeline(tmp_path / 'other', seed=1)
    with pytest.raises(ValueError, match='another diffusion model'):
        init_model(config, checkpoint, 'cpu', cfg_options={'model.backbone.diffusion': other})


def make_ade20k(root: Path, images: int) -> None:
    """Pictures in ADE20K's layout: 0 is unlabelled, 1 to 150 are the classes."""
    rng = np.random.default_rng(0)
    for split, count in (('training', images), ('validation', 1)):
        (root / 'annotations' / split).mkdir(parents=True)
        for i in range(count):
            tiny.write_photo(root / 'images' / split / f'{i}.jpg', i, size=(64, 96))
            labels = np.kron(rng.integers(0, 151, (4, 6)), np.ones((16, 16))).astype(np.uint8)
            cv2.imwrite(str(root / 'annotations' / split / f'{i}.png'), labels)


@pytest.mark.skipif(
    uses_forks(), reason="onedl-mmengine to 0.10.12: the fork's own tools find no base that a config names by mmseg::"
)
@pytest.mark.slow
def test_mmsegs_train_with_a_switched_in_config(tmp_path, pipeline_folder):
    """An empty folder, one of MMSegmentation's configs and its own tools/train.py."""
    import mmseg
    from mmseg.apis import inference_model, init_model

    make_ade20k(tmp_path / 'data' / 'ade' / 'ADEChallengeData2016', images=3)
    config = tmp_path / 'mine.py'
    config.write_text(readme_config(pipeline_folder))
    train = osp.join(osp.dirname(mmseg.__file__), '.mim', 'tools', 'train.py')
    done = subprocess.run(
        [
            sys.executable,
            train,
            'mine.py',
            '--cfg-options',
            # three iterations of small pictures instead of 160000, on a CPU
            'train_cfg.max_iters=3',
            'train_cfg.val_interval=3',
            'custom_hooks.0.warm_up=2',
            'model.data_preprocessor.size=(64,64)',
            'model.decode_head.norm_cfg.type=BN',
            'train_dataloader.dataset.dataset.pipeline.2.scale=(128,64)',
            'train_dataloader.dataset.dataset.pipeline.3.crop_size=(64,64)',
            'val_dataloader.dataset.pipeline.1.scale=(128,64)',
            'custom_hooks.0.creation.scale=(64,64)',
            'custom_hooks.0.creation.steps=2',
            # the small text encoder takes no caption of a scene
            'custom_hooks.0.creation.condition=None',
            'default_hooks.logger.interval=1',
            'train_dataloader.batch_size=2',
            'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False',
            'val_dataloader.num_workers=0',
            'val_dataloader.persistent_workers=False',
        ],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=600,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    work_dir = tmp_path / 'work_dirs' / 'mine'
    assert records_written(work_dir / 'synthetic') == 3
    checkpoint = work_dir / 'iter_3.pth'
    assert 'theta_E' in load_weights_only(checkpoint)
    photo = tmp_path / 'data/ade/ADEChallengeData2016/images/validation/0.jpg'
    result = inference_model(init_model(str(config), str(checkpoint), 'cpu'), str(photo))
    assert result.pred_sem_seg.shape == (64, 96)
