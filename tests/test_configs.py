"""The shipped configs: complete, consistent, and buildable on a small model."""
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import diff2in1_mm  # noqa: F401
from diff2in1_mm.synthesis.settings import CreationSettings

FOLDER = Path(__file__).resolve().parent.parent / 'configs'
NAMES = sorted(path.name for path in FOLDER.glob('diff2in1_*.py'))


@pytest.fixture(params=NAMES)
def cfg(request):
    return Config.fromfile(FOLDER / request.param)


def test_a_run_has_what_the_method_needs(cfg):
    assert cfg.custom_imports.imports == ['diff2in1_mm']
    assert cfg.train_dataloader.dataset.type == 'SyntheticMixDataset'
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    hook = cfg.custom_hooks[0]
    assert hook.type == 'SelfImprovingHook' and 0 < hook.warm_up < cfg.train_cfg.max_iters
    # theta_C can follow: its time constant is well below the length of the stage.
    assert hook.interval / hook.momentum < (cfg.train_cfg.max_iters - hook.warm_up) / 2
    CreationSettings.from_dict(hook.creation).build_generator()
    assert cfg.param_scheduler[-1]['end'] == cfg.train_cfg.max_iters


def test_the_model_builds_over_any_diffusion_model(cfg, pipeline_folder):
    init_default_scope(cfg.default_scope)
    widths = [16, 24, 32]
    cfg.model.backbone.diffusion = pipeline_folder
    condition = cfg.model.backbone.get('condition')
    if condition is not None:
        assert condition.dataset == cfg.train_dataloader.dataset.dataset.type
        cfg.model.backbone.condition = None  # its prompts are too long for the tiny text encoder
    cfg.model.neck.update(in_channels=widths, num_outs=3)
    channels = cfg.model.neck.out_channels
    cfg.model.decode_head.update(in_channels=[channels] * 3, in_index=[0, 1, 2],
                                 feature_strides=[4, 8, 16])
    model = MODELS.build(cfg.model)
    model.backbone.check_normalisation(model.data_preprocessor)


def test_the_head_fits_the_data_set(cfg):
    from mmseg.registry import DATASETS
    dataset = DATASETS.get(cfg.train_dataloader.dataset.dataset.type)
    assert len(dataset.METAINFO['classes']) == cfg.model.decode_head.num_classes
