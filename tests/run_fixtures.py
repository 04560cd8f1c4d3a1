"""Fixtures of tests that train: labelled images, and runs watched or made short."""

import pytest

from diff2in1_mm.creation import stage as creation_stage
from diff2in1_mm.creation.fingerprints import parameters_digest
from diff2in1_mm.diffusion.latent_model import LatentModel
from diff2in1_mm.preflight import creation as preflight_creation
from diff2in1_mm.self_improving.pseudo_labels import BatchPass

from . import tiny_runs as tiny


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    return tiny.make_images(tmp_path_factory.mktemp('images'))


@pytest.fixture
def tiny_create(monkeypatch):
    """The creation stage without a diffusion model."""
    # restored afterwards
    monkeypatch.setattr(creation_stage, '_create', creation_stage._create)
    monkeypatch.setattr(preflight_creation, 'check_creation', preflight_creation.check_creation)
    tiny.use_tiny_create()


@pytest.fixture
def counted(monkeypatch):
    """Images that went through the VAE's encoder and through the denoiser."""
    counts = dict(encode=0, predict=0)
    for name in counts:
        method = getattr(LatentModel, name)

        def count(self, images, *args, _name=name, _method=method, **kwargs):
            counts[_name] += len(images)
            return _method(self, images, *args, **kwargs)

        monkeypatch.setattr(LatentModel, name, count)
    return counts


@pytest.fixture
def untouched(monkeypatch):
    """For each batch: whether preparing it left theta_E and its buffers as they were, and the
    number of synthetic samples among how many."""
    batches = []
    prepare = BatchPass._prepare

    def watch(self, inputs, samples, rows):
        before = parameters_digest(self.model)
        result = prepare(self, inputs, samples, rows)
        same = parameters_digest(self.model) == before and self.model.training
        batches.append((same, len(rows), len(samples)))
        return result

    monkeypatch.setattr(BatchPass, '_prepare', watch)
    return batches


@pytest.fixture(autouse=True)
def quick_runner(monkeypatch):
    """Leaves out what takes a Runner most of its time here: pretty configs, a look at compilers."""
    monkeypatch.setattr(
        'mmengine.config.config.FormatCode', lambda text, **style: (text, True), raising=False
    )  # not the fork
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
