"""A small store to look at, and a program that serves it."""

import threading
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from diff2in1_mm.browse.server import BrowseServer
from diff2in1_mm.browse.session import Session
from diff2in1_mm.store.store import SyntheticStore

from ..test_store.samples import PURPOSE, make_record, make_sample

EVIL = '<img src=x onerror="document.title=\'pwned\'"><script>document.title = "pwned"</script>'
#: No slash inside: a name that a file can have.
EVIL_FILE = '<img src=x onerror=\'document.title="pwned"\'> "quoted" & %2e%2e\n.png'


def fill_store(root, count=6, shift=0):
    """Samples whose confidence falls; the third has no class 'sky'; caption and file name of the first are hostile."""
    store = SyntheticStore.prepare(root / 'store', **PURPOSE)
    for number in range(count):
        source = root / (EVIL_FILE if number == 0 else f'source {number}.png')
        image, annotations = make_sample(number)
        cv2.imwrite(str(source), image[..., ::-1] // 2)
        labels = np.roll(annotations['segmentation'], shift)
        if number == 2:
            labels[labels == 1] = 0
        store.add(
            make_record(
                number,
                source_path=str(source),
                caption=EVIL if number == 0 else 'a photo',
                quality=dict(confidence=0.9 - number / 10, ignored=number / 10),
            ),
            image,
            dict(segmentation=labels),
        )
    return SyntheticStore(root / 'store')


@pytest.fixture
def store(tmp_path):
    return fill_store(tmp_path)


@pytest.fixture
def ids(store):
    return [record.id for record in store.records()]


@pytest.fixture
def session(store):
    session = Session(store, measure=True)
    session.catalogue.read()
    return session


@contextmanager
def serving(session):
    """A server of its own for as long as the block lasts."""
    server = BrowseServer(session)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(session):
    with serving(session) as server:
        yield server
