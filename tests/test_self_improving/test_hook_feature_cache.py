"""Whole runs with features on disk: the same heads as before, without the diffusion model."""

import pytest
import torch

pytest.importorskip('mmseg')

from diff2in1_mm.diffusion.latent_model import LatentModel  # noqa: E402
from tests.segmentors import segmentor_config  # noqa: E402
from tests.test_datasets.test_fixed_views import AUGMENTED  # noqa: E402
from tests.tiny_runs import make_images, train  # noqa: E402


@pytest.fixture
def configure(tmp_path, pipeline_folder):
    make_images(tmp_path, count=4, size=32)

    def make(name, iters, resume=False, **hook):
        cfg = segmentor_config('sem_fpn', tmp_path, tmp_path / name, pipeline_folder, iters=iters, **hook)
        cfg.model.backbone.feature_cache = dict(folder=str(tmp_path / 'features'))
        cfg.model.data_preprocessor.size = (32, 32)
        cfg.train_dataloader.dataset.dataset.pipeline = AUGMENTED
        cfg.train_dataloader.dataset.views = 2
        cfg.model.decode_head.dropout_ratio = 0.0
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        cfg.resume = resume
        return cfg

    return make


@pytest.fixture
def seen(monkeypatch):
    """Batches that the denoiser sees."""
    batches, predict = [], LatentModel.predict

    def counting(self, latents, *args, **kwargs):
        batches.append(len(latents))
        return predict(self, latents, *args, **kwargs)

    monkeypatch.setattr(LatentModel, 'predict', counting)
    return batches


def weights(runner):
    return [parameter for parameter in runner.model.parameters() if parameter.requires_grad]


def test_a_later_run_and_a_resumed_one_do_without_the_diffusion_model(configure, seen):
    options = dict(creation=None, warm_up=1)
    whole = train(configure('whole', 6, **options))
    assert 0 < sum(seen) <= 4 * 2  # images and their views, though 24 images were drawn
    seen.clear()
    again = train(configure('again', 3, **options))
    resumed = train(configure('again', 6, resume=True, **options))
    assert not seen and resumed.iter == 6 and again.iter == 3
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed)))


def test_synthetic_samples_are_kept_as_they_come_and_strong_views_are_not(configure, tmp_path):
    runner = train(configure('run', 8, student_view='strong'))
    kept = runner.model.backbone.feature_cache.open(runner.model.backbone)
    assert 8 < len(list(kept.folder.glob('*/*'))) <= (4 + 4) * 2
    assert kept.asked == 8 * 4 and kept.made < kept.asked
