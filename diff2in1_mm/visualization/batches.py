"""Predictions of many images: read ahead, predicted in batches of one size, drawn beside the next batch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from mmengine.structures import BaseDataElement

from .predictor import Predictor

__all__ = ['draw_in_batches']

_READERS = 2
_AHEAD = 2  # batches that are read, and drawn, beside the one that is predicted

#: Writes the pictures of an image, given its path, its pixels (uint8 (H, W, 3), RGB) and its prediction.
Draw = Callable[[str, np.ndarray, BaseDataElement], None]


class _Read(NamedTuple):
    """An image as it is drawn, and as the model takes it."""

    path: str
    image: np.ndarray
    inputs: dict[str, Any]


def draw_in_batches(
    predictor: Predictor, paths: Iterable[str], load: Callable[[str], np.ndarray], draw: Draw, batch_size: int = 8
) -> Iterator[tuple[str, Exception | None]]:
    """Predict images and draw the predictions.

    Images that follow one another and have one size on the model's side are predicted together, so that padding changes
    nothing. Two threads read ahead, a third draws; no more than a few batches are in memory.

    Args:
        predictor (Predictor): Whose model predicts.
        paths (Iterable[str]): Image files.
        load (Callable): From a path to pixels for ``draw``; called in several threads.
        draw (Draw): Called in one thread, image by image, in their order.
        batch_size (int): Images at a time. Default 8.

    Yields:
        tuple[str, Exception | None]: Each path when its pictures are written, or with the error of its decoder.

    Raises:
        Exception: What the model or ``draw`` raised.
    """
    drawn: deque[tuple[str, Future]] = deque()
    with ThreadPoolExecutor(1) as pen:
        for batch in _batches(_read_ahead(predictor, paths, load, _AHEAD * batch_size), batch_size):
            if isinstance(batch, tuple):
                yield batch
                continue
            predictions = predictor.predict_together([read.inputs for read in batch])
            for read, prediction in zip(batch, predictions):
                drawn.append((read.path, pen.submit(draw, read.path, read.image, prediction)))
            while len(drawn) > _AHEAD * batch_size:
                yield _ended(*drawn.popleft())
        while drawn:
            yield _ended(*drawn.popleft())


def _ended(path: str, future: Future) -> tuple[str, None]:
    future.result()
    return path, None


def _batches(
    reads: Iterable[tuple[str, _Read | Exception]], batch_size: int
) -> Iterator[Sequence[_Read] | tuple[str, Exception]]:
    """Images of one size that follow one another; an image that cannot be read alone."""
    batch: list[_Read] = []
    for path, found in reads:
        if isinstance(found, Exception):
            yield path, found
            continue
        if batch and (len(batch) == batch_size or _size(batch[0]) != _size(found)):
            yield batch
            batch = []
        batch.append(found)
    if batch:
        yield batch


def _size(read: _Read) -> Any:
    """What the model sees of it; of several test-time views, or of what is no tensor, nothing that is like another."""
    return getattr(read.inputs['inputs'], 'shape', id(read))


def _read_ahead(
    predictor: Predictor, paths: Iterable[str], load: Callable[[str], np.ndarray], ahead: int
) -> Iterator[tuple[str, _Read | Exception]]:
    def read(path: str) -> _Read | Exception:
        try:
            return _Read(path, load(path), predictor.read(path))
        except Exception as error:  # whatever a decoder raises on a broken file
            return error

    waiting: deque[tuple[str, Future]] = deque()
    pool = ThreadPoolExecutor(_READERS)
    try:
        for path in paths:
            waiting.append((path, pool.submit(read, path)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
