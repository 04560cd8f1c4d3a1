"""Whether a data set reads the label maps of a store as what theta_C predicted."""

import copy
import os.path as osp
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.source_images import map_loader, transforms_of
from ..tasks.png import encode_png
from ..utils.errors import UserError
from .batch_labels import BatchLabels
from .plan import source_entry, source_indices

__all__ = ['check_read_back']


def check_read_back(labels: BatchLabels, dataset: Any) -> None:
    """Has the pipeline's own loader read a map of all classes, written as a store writes it.

    A loader of one's own may expect other files, such as coloured ones, and would take every
    synthetic label for another class, or for nothing.

    Args:
        labels (BatchLabels): What labels; anything but predicted label maps is not looked at.
        dataset: The real data set, or one that wraps it.

    Raises:
        ValueError: It reads something else, or no file value is read as one of the classes.
    """
    loader = copy.deepcopy(map_loader(transforms_of(dataset)))
    indices = source_indices(dataset)
    if labels.task != 'segmentation' or labels.of_source or loader is None or not indices:
        return
    if hasattr(loader, 'backend_args'):
        loader.backend_args = None  # a store lies on the disk, wherever the data set's files are
    entry = source_entry(dataset, indices[0])
    # twice in both directions: loaders drop sides of length 1
    classes = np.tile(np.arange(labels.labeller.count_classes(labels.model)), (2, 2))
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, 'labels.png')
        Path(path).write_bytes(encode_png(labels.labeller.to_raw(classes, entry)))
        refusal = UserError(
            "a store holds label maps of one channel with class indices, which the data set's "
            f"{type(loader).__name__} reads as other labels or not at all: let the data set's "
            "pipeline load such maps (MMSegmentation's LoadAnnotations), converting its own files "
            'once'
        )
        try:
            read = loader(dict(entry, seg_map_path=path, seg_fields=[]))
        except KeyError:  # it may want what the transforms before it add
            return
        except Exception as error:  # whatever a loader says of a map with one channel
            raise refusal from error
    found = None if read is None else read.get('gt_seg_map')
    if found is None or not np.array_equal(found, classes):
        raise refusal
