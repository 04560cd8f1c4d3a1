"""Predictions as files, for ``tools/test.py --out``."""

import os
import os.path as osp
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from mmengine.dist import all_gather_object, barrier
from mmengine.evaluator import BaseMetric

from ..tasks import Task
from ..utils.atomic_files import write_atomic

__all__ = ['MetricWithFiles']


class MetricWithFiles(BaseMetric):
    """A metric that may write the predictions which it rates.

    Args:
        output_dir (str | None): Folder for them. None: nothing is written.
        task (Task): How a store would hold them.
        collect_device, prefix: As in ``BaseMetric``.

    Attributes:
        files (PredictedFiles | None): For ``process`` to write.
    """

    def __init__(self, output_dir: str | None, task: Task, collect_device: str, prefix: str | None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.files = None if output_dir is None else PredictedFiles(output_dir, task)

    def evaluate(self, size: int) -> dict:
        """As in ``BaseMetric``; gives the files their names."""
        figures = super().evaluate(size)
        if self.files is not None:
            self.files.finish()
        return figures


class PredictedFiles:
    """Predicted maps of one evaluation after another, by any number of processes.

    A file bears the name of its image, with the folders that tell it from others where a name
    comes twice. That is known only when all images are: until then, and for good if the evaluation
    is stopped, the files lie below ``unfinished`` under the whole paths of their images.

    Args:
        folder (str): Made if missing.
        task (Task): How a store would hold them.
    """

    def __init__(self, folder: str, task: Task) -> None:
        self.folder, self.task = Path(folder), task
        self._unfinished = self.folder / 'unfinished'
        self._images: set[str] = set()

    def write(self, image: str, values: np.ndarray) -> None:
        """Write the map of an image, as a store would hold it.

        Args:
            image (str): Its path.
            values (ndarray): Float (H, W) or (H, W, 3), as the task takes it.
        """
        image = osp.abspath(image)
        record = SimpleNamespace(id=Path(image).stem, number=0)  # no sample's
        for suffix, content in self.task.encode(values, record, values.shape[:2]).items():
            write_atomic(self._place(image, suffix), content)
        self._images.add(image)

    def finish(self) -> None:
        """Give the files their names; all processes call it."""
        names = _names(set().union(*all_gather_object(self._images)))
        for image in self._images:
            target = self.folder / f'{names[image]}{self.task.suffix}'
            target.parent.mkdir(parents=True, exist_ok=True)
            # gone: another process had this image, too, or another metric this folder
            with suppress(FileNotFoundError):
                os.replace(self._place(image, self.task.suffix), target)
        self._images = set()
        for folder, _, _ in os.walk(self._unfinished, topdown=False):
            with suppress(OSError):  # those that hold something stay
                os.rmdir(folder)
        barrier()  # or the next evaluation writes where a slower process still removes folders

    def _place(self, image: str, suffix: str) -> Path:
        path = Path(f'{image}{suffix}')
        return self._unfinished / path.relative_to(path.anchor)


def _names(images: set[str]) -> dict[str, str]:
    """The shortest names, without the suffix of a map, that tell images apart by absolute path."""
    root = osp.commonpath([osp.dirname(image) for image in images]) if images else ''
    paths = {image: Path(image).relative_to(root) for image in images}
    by_stem = {image: path.stem for image, path in paths.items()}
    by_folder = {image: str(path.with_suffix('')) for image, path in paths.items()}
    for names in (by_stem, by_folder):
        if len(set(names.values())) == len(names):
            return names
    return {image: str(path) for image, path in paths.items()}
