"""What the import leaves out of what libraries say."""

import logging
import subprocess
import sys

from diff2in1_mm.utils.compat import leave_image_processors_unannounced


def test_only_image_processors_are_unannounced():
    logger, said = logging.getLogger('transformers.utils.import_utils'), []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    before = logger.filters[:]
    try:
        logger.filters.clear()
        logger.warning('`%s` requires torchvision (not installed)', 'A')
        leave_image_processors_unannounced()
        leave_image_processors_unannounced()
        logger.warning('`%s` requires torchvision (not installed); falling back', 'B')
        logger.warning('something is deprecated')
        assert len(logger.filters) == 1
    finally:
        logger.filters[:] = before
        logger.removeHandler(handler)
    assert said == ['`A` requires torchvision (not installed)', 'something is deprecated']


def imported_by(statement):
    command = f'{statement}; import sys; print(*(m for m in ("diffusers", "peft") if m in sys.modules))'
    return subprocess.run([sys.executable, '-c', command], capture_output=True, text=True, check=True).stdout.split()


def test_libraries_of_diffusion_models_wait_until_they_are_needed():
    assert imported_by('import diff2in1_mm') == []
    assert imported_by('from diff2in1_mm.diffusion.loading.folder import load_whole; import diffusers')[:1] == [
        'diffusers'
    ]


def test_adafactor_is_built_from_a_config_when_it_is_asked_for():
    command = (
        'import sys, diff2in1_mm, torch\n'
        'from mmengine.optim import build_optim_wrapper\n'
        'wrapper = build_optim_wrapper(torch.nn.Linear(2, 2), dict(optimizer=dict(type="Adafactor", lr=0.1,'
        ' relative_step=False)))\n'
        'from transformers import Adafactor\n'
        'assert type(wrapper.optimizer) is Adafactor\n'
    )
    subprocess.run([sys.executable, '-c', command], check=True)
