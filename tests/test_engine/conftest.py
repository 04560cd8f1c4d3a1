import pytest

from diff2in1_mm.engine import creation_stage

from . import tiny


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    return tiny.make_images(tmp_path_factory.mktemp('images'))


@pytest.fixture
def tiny_create(monkeypatch):
    """The creation stage without a diffusion model."""
    for name in ('_create', 'check_creation'):  # restored afterwards
        monkeypatch.setattr(creation_stage, name, getattr(creation_stage, name))
    tiny.use_tiny_create()


@pytest.fixture(autouse=True)
def quick_runner(monkeypatch):
    """Leaves out what takes a Runner most of its time here: pretty configs, a look at compilers."""
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **style: (text, True))
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
