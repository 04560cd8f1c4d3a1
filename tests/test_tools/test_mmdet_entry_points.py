"""MMDetection's own tools/train.py with the config of docs/detection.md, in an empty folder."""

import os
import os.path as osp
import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip('mmdet')

import diff2in1_mm  # noqa: E402, F401  (torch.load takes MMEngine's checkpoints)
from diff2in1_mm.utils.compat import load_weights_only

from ..conftest import ROOT  # noqa: E402
from ..detectors import CLASSES, make_coco  # noqa: E402
from ..stores import records_written  # noqa: E402
from ..versions import needs_operators  # noqa: E402


def documented_config(pipeline):
    """The example of the docs that switches a stock config over, with a small diffusion model."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/detection.md').read_text(), re.DOTALL)
    text = next(block for block in blocks if '_delete_' in block and 'mmdet::' in block)
    source = 'stable-diffusion-v1-5/stable-diffusion-v1-5'
    assert source in text and "dtype='bf16'" in text
    return text.replace(source, pipeline).replace("dtype='bf16'", "dtype='fp32'")


@needs_operators
@pytest.mark.slow
def test_mmdets_train_with_a_switched_in_config(tmp_path, pipeline_folder):
    import mmdet
    from mmdet.apis import inference_detector, init_detector

    coco = tmp_path / 'data' / 'coco'
    make_coco(coco / 'val2017')
    (coco / 'annotations').mkdir()
    for split in ('train', 'val'):
        shutil.copy(coco / 'val2017' / 'instances.json', coco / 'annotations' / f'instances_{split}2017.json')
    shutil.copytree(coco / 'val2017', coco / 'train2017')
    (tmp_path / 'mine.py').write_text(documented_config(pipeline_folder))
    train = osp.join(osp.dirname(mmdet.__file__), '.mim', 'tools', 'train.py')
    # two epochs of small pictures instead of twelve, of a set of two classes, on a CPU
    data = [
        f'{split}.metainfo.classes={CLASSES}'.replace(' ', '')
        for split in ('train_dataloader.dataset.dataset', 'val_dataloader.dataset')
    ]
    done = subprocess.run(
        [
            sys.executable,
            train,
            'mine.py',
            '--cfg-options',
            *data,
            'train_cfg.max_epochs=2',
            'custom_hooks.0.warm_up=1',
            'model.roi_head.bbox_head.num_classes=2',
            'model.roi_head.bbox_head.fc_out_channels=64',
            'train_dataloader.dataset.dataset.pipeline.2.scale=(96,64)',
            'val_dataloader.dataset.pipeline.1.scale=(96,64)',
            'custom_hooks.0.creation.scale=(64,64)',
            'custom_hooks.0.creation.label_scale=(96,64)',
            'custom_hooks.0.creation.steps=2',
            'custom_hooks.0.confidence=0.0',
            'custom_hooks.0.labelling.allow_empty=True',
            # the small text encoder takes no caption of a scene
            'custom_hooks.0.creation.condition=None',
            'optim_wrapper.optimizer.lr=1e-4',
            'default_hooks.logger.interval=1',
            *(
                f'{split}_dataloader.{option}'
                for split in ('train', 'val')
                for option in ('num_workers=0', 'persistent_workers=False')
            ),
        ],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=600,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    work_dir = tmp_path / 'work_dirs' / 'mine'
    assert records_written(work_dir / 'synthetic') == 4
    assert (work_dir / 'synthetic' / 'instances.json').is_file()
    checkpoint = work_dir / 'epoch_2.pth'
    assert 'theta_E' in load_weights_only(checkpoint)
    model = init_detector(
        str(tmp_path / 'mine.py'),
        str(checkpoint),
        device='cpu',
        cfg_options={
            'model.roi_head.bbox_head.num_classes': 2,
            'model.roi_head.bbox_head.fc_out_channels': 64,
            'test_dataloader.dataset.pipeline.1.scale': (96, 64),
        },
    )
    found = inference_detector(model, str(coco / 'val2017' / '0.png'))
    assert found.pred_instances.bboxes.shape[1] == 4
