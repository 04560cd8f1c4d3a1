"""What the import leaves out of what libraries say."""

import logging

from diff2in1_mm.utils.compat import image_processors_unannounced


def test_only_image_processors_are_unannounced():
    logger, said = logging.getLogger('transformers.utils.import_utils'), []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    try:
        with image_processors_unannounced():
            logger.warning('`%s` requires torchvision (not installed); falling back', 'A')
            logger.warning('something is deprecated')
        logger.warning('`B` requires torchvision (not installed)')
    finally:
        logger.removeHandler(handler)
    assert said == ['something is deprecated', '`B` requires torchvision (not installed)']
