import logging

import pytest
from mmengine.logging import MMLogger


@pytest.fixture
def logged():
    """What is logged from here on."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
