"""Shared by all tests: where the golden values and the photographs are."""

import gc
import importlib.util
import logging
import os
import sys
from pathlib import Path

# Before torch looks for GPUs, which diffusers has it do at import; for the processes that tests start
# too. Runs that are equal to the bit, and gloo's processes, are for CPUs.
if '--gpu' not in sys.argv and 'PYTEST_XDIST_WORKER' not in os.environ:
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

ROOT = Path(__file__).resolve().parent.parent

# MMDetection looks for panopticapi, which is not on PyPI, when it is first imported
if importlib.util.find_spec('panopticapi') is None:
    sys.path.append(str(ROOT / 'tests' / 'stand_ins'))

import pytest  # noqa: E402

from .small_models import save_tiny_pipeline, tiny_pipeline  # noqa: E402

pytest_plugins = ['tests.run_fixtures']


def pytest_addoption(parser) -> None:
    parser.addoption(
        '--gpu',
        action='store_true',
        help='leave GPUs visible: what is trained in tests is trained on one. Tests fail '
        'there that compare two runs to the bit',
    )


def pytest_collection_finish() -> None:
    leave_out_what_stays()


def leave_out_what_stays() -> None:
    """MMEngine collects garbage whenever a data set is built, 0.2 s each time: libraries that stay are left out."""
    gc.collect()
    gc.freeze()


# Neither this user's caches nor those of another test; a test that is about one names a folder.
os.environ['DIFF2IN1_CACHE'] = ''


@pytest.fixture(scope='session')
def golden() -> Path:
    """Folder with the outputs of the reference implementations."""
    return ROOT / 'tests' / 'golden'


@pytest.fixture(scope='session')
def camvid() -> Path:
    """CamVid as tools/prepare_data.py leaves it; the one test that reads it has a twin on made-up files."""
    folders = [Path(os.environ.get('DIFF2IN1_DATA', ROOT / 'data')), ROOT.parent / 'shared' / 'data']
    found = [folder / 'camvid' for folder in folders if (folder / 'camvid').is_dir()]
    if not found:
        pytest.skip('CamVid is not in data/camvid; the environment variable DIFF2IN1_DATA names the parent folder')
    return found[0]


@pytest.fixture(autouse=True)
def own_globals():
    """Keeps MMEngine's global instances (scope, message hub, logger, visualizer) to one test.

    Runners made within one second get the same name, and so would share their message hub.
    """
    from mmengine.utils import ManagerMixin

    before = {cls: dict(cls._instance_dict) for cls in _subclasses(ManagerMixin)}
    yield
    for cls in _subclasses(ManagerMixin):
        cls._instance_dict.clear()
        cls._instance_dict.update(before.get(cls, {}))


@pytest.fixture(autouse=True, scope='module')
def no_globals_left():
    """Fixtures of a file may set the default scope for all its tests; the next file starts without it."""
    yield
    from mmengine.utils import ManagerMixin

    for cls in _subclasses(ManagerMixin):
        cls._instance_dict.clear()
    leave_out_what_stays()  # of what its tests imported


def _subclasses(cls: type) -> set:
    return {cls}.union(*(_subclasses(c) for c in cls.__subclasses__()))


@pytest.fixture
def logged():
    """What is logged from here on, wherever the present logger writes to."""
    from mmengine.logging import MMLogger

    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@pytest.fixture(scope='session')
def pipeline():
    """The tiny model as a plain diffusers pipeline in eval mode."""
    pipe = tiny_pipeline()
    for part in (pipe.vae, pipe.unet, pipe.text_encoder):
        part.eval()
    return pipe


@pytest.fixture(scope='session')
def pipeline_folder(tmp_path_factory):
    """The tiny model as a diffusers folder."""
    return save_tiny_pipeline(tmp_path_factory.mktemp('pipeline'))


@pytest.fixture
def diffusion(pipeline_folder):
    """The tiny model, loaded anew for each test."""
    from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion

    return LatentDiffusion.from_pretrained(pipeline_folder)
