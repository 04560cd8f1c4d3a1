"""What libraries say is left out where nobody can act on it, and only there."""

import logging
import warnings

from diff2in1_mm.utils import compat
from diff2in1_mm.utils.quiet_libraries import (
    known_warnings_untold,
    leave_image_processors_unannounced,
    leave_known_warnings_untold,
)


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


def test_known_warnings_are_left_out_and_no_others(recwarn):
    def warn():
        for text in ('Default ``avg_non_ignore`` is False, if you would', 'a class weight is missing'):
            warnings.warn(text)

    with known_warnings_untold():
        warn()
    warn()
    leave_known_warnings_untold()
    filters = len(warnings.filters)
    leave_known_warnings_untold()
    assert len(warnings.filters) == filters
    warn()
    assert [str(one.message)[:7] for one in recwarn] == ['a class', 'Default', 'a class', 'a class']


def test_reading_of_weights_draws_no_bar_and_downloads_do(pipeline_folder, capfd):
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers import CLIPTextModel
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    compat.from_pretrained(CLIPTextModel, pipeline_folder, subfolder='text_encoder')
    assert 'Loading weights' not in capfd.readouterr().err
    assert (logging.is_progress_bar_enabled(), are_progress_bars_disabled()) == before
