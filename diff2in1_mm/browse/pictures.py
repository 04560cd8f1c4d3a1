"""Pictures of one sample: its source image, itself, and its labels in colours."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ..datasets.source_images import load_image
from ..store.records import SampleRecord
from ..store.store import SyntheticStore
from ..utils.errors import UnusableFileError
from ..utils.pictures import label_colours

__all__ = ['SamplePictures', 'agreement_with', 'diversity_of']

_KEPT = 600
_HEIGHT = 192


class SamplePictures:
    """JPEG pictures; the last ones are kept. Safe in many threads.

    Args:
        store (SyntheticStore): Of the samples.
        palette: Of the data set, where it is known.
        beside (SyntheticStore | None): Holds labels of the same samples by another checkpoint.
    """

    def __init__(
        self, store: SyntheticStore, palette: list[list[int]] | None = None, beside: SyntheticStore | None = None
    ) -> None:
        self.store = store
        self.colours = label_colours(len(store.classes), palette)
        self.kinds: dict[str, Callable[[SampleRecord], np.ndarray]] = {'source': self._source, 'sample': self._sample}
        self.kinds.update({f'label {task}': partial(self._label, task) for task in store.tasks})
        if beside is not None:
            both = [task for task in beside.tasks if task in store.tasks]
            self.kinds.update({f'beside {task}': partial(self._label_beside, beside, task) for task in both})
        self._kept: OrderedDict[tuple, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, record: SampleRecord, kind: str, whole: bool = False) -> bytes:
        """A picture as JPEG.

        Args:
            record (SampleRecord): Of the sample, with corrected labels.
            kind (str): One of :attr:`kinds`.
            whole (bool): In its own size; else at most 192 pixels high.

        Raises:
            KeyError: There is no such kind.
            OSError, ValueError: The file is gone or damaged.
        """
        draw = self.kinds[kind]
        key = (record.id, kind, whole, *record.annotations.values())
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        content = _jpeg(draw(record), None if whole else _HEIGHT)
        with self._lock:
            self._kept[key] = content
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return content

    def _source(self, record: SampleRecord) -> np.ndarray:
        return load_image(record.source_path)

    def _sample(self, record: SampleRecord) -> np.ndarray:
        return load_image(self.store.image_path(record))

    def _label(self, task: str, record: SampleRecord) -> np.ndarray:
        return self._drawn(self.store, task, record)

    def _label_beside(self, beside: SyntheticStore, task: str, record: SampleRecord) -> np.ndarray:
        return self._drawn(beside, task, _of_other(beside, record))

    def _drawn(self, store: SyntheticStore, task: str, record: SampleRecord) -> np.ndarray:
        label = store.codecs[task].decode(store.annotation_paths(record)[task])
        image = load_image(store.image_path(record))
        return store.codecs[task].draw(image, label, self.colours, record.entry)


def _of_other(store: SyntheticStore, record: SampleRecord) -> SampleRecord:
    """The record of the same sample in another store."""
    found = store.find(record.id)
    if found is None:
        raise UnusableFileError(f'{store.root} has no sample {record.id}')
    return found


def _jpeg(picture: np.ndarray, height: int | None) -> bytes:
    if height is not None and picture.shape[0] > height:
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    written, content = cv2.imencode('.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not written:
        raise UnusableFileError(f'cv2 could not encode a picture of shape {picture.shape}')
    return content.tobytes()


def diversity_of(store: SyntheticStore) -> Callable[[SampleRecord], float | None]:
    """How far a sample is from its source image: root mean square difference of the pixels in [0, 1], as
    :func:`diff2in1_mm.evaluation.generated_images.diversity` has it; None where a file is gone, and of an unlabelled
    picture."""

    def measure(record: SampleRecord) -> float | None:
        if record.unlabelled:
            return None
        try:
            sample = load_image(store.image_path(record))
            source = load_image(record.source_path, sample.shape[1::-1], keep_ratio=False)
        except OSError:
            return None
        return float(np.sqrt(np.square((sample.astype(np.float32) - source) / 255).mean()))

    return measure


def agreement_with(store: SyntheticStore, beside: SyntheticStore) -> Callable[[SampleRecord], float | None]:
    """Share of the pixels to which the label maps of both stores give the same class; None without two such maps."""

    def measure(record: SampleRecord) -> float | None:
        try:
            maps = [
                np.asarray(_class_map(one, own)) for one, own in ((store, record), (beside, _of_other(beside, record)))
            ]
        except (OSError, ValueError, KeyError):
            return None
        return float((maps[0] == maps[1]).mean()) if maps[0].shape == maps[1].shape else None

    return measure


def _class_map(store: SyntheticStore, record: SampleRecord) -> np.ndarray:
    paths: Mapping[str, Path] = store.annotation_paths(record)
    if 'segmentation' in paths:
        return store.codecs['segmentation'].decode(paths['segmentation'])
    found = store.codecs['panoptic'].decode(paths['panoptic'])
    return np.append(255, found.labels)[found.ids]
