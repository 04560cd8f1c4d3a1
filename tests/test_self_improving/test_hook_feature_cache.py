"""Whole runs with features on disk: the same heads as before, without the diffusion model."""

import pytest
import torch

pytest.importorskip('mmseg')

from diff2in1_mm.diffusion.latent_model import LatentModel  # noqa: E402
from diff2in1_mm.store.store import SyntheticStore  # noqa: E402
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


def kept_files(runner):
    kept = runner.model.backbone.feature_cache.open(runner.model.backbone)
    return set(kept.folder.glob('*/*'))


def test_every_round_is_kept_and_found_again_by_a_resumed_run(configure, seen, tmp_path):
    options = dict(warm_up=1, recreate_every=3, creation=dict(T=300, steps=1, batch_size=4))
    whole = train(configure('whole', 9, **options))
    assert SyntheticStore(tmp_path / 'whole/store').rounds() == {2}  # from iterations 1, 4 and 7 on
    files = kept_files(whole)
    assert (4 + 4) * 2 < len(files) <= (4 + 3 * 4) * 2
    train(configure('again', 5, **options))
    seen.clear()
    again = train(configure('again', 9, resume=True, **options))
    assert kept_files(again) == files
    # of round 2 alone: 4 images are generated and labelled; training finds all
    assert sum(seen) == 4 * 2
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again)))


def test_samples_of_a_pipeline_that_only_flips_are_kept_as_they_are_created(configure, seen):
    cfg = configure('run', 8, warm_up=1, creation=dict(T=300, steps=1, batch_size=1))
    cfg.train_dataloader.dataset.dataset.pipeline = [*AUGMENTED[:2], AUGMENTED[4], AUGMENTED[-1]]
    files = kept_files(train(cfg))
    in_training = sum(seen) - 4 * 2  # 4 images are generated and labelled
    # the first of the four showed that it pays
    assert in_training == len(files) - 3
