"""What conditions are told about a source image."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

from ..datasets.source_images import map_loader, transforms_of
from ..diffusion.conditions.source import Source
from ..utils.errors import UserError, first_line


class SourceDescriber:
    """Tells a condition about source images; label maps are read only where it wants classes.

    Args:
        dataset: The real data set, with ``metainfo`` and ``pipeline``.
        condition: Of the generator.
    """

    def __init__(self, dataset: Any, condition: Any) -> None:
        self.classes: Sequence[str] = tuple(dataset.metainfo.get('classes') or ())
        self.wants_classes = getattr(condition, 'wants_classes', False)
        if self.wants_classes and not self.classes:
            raise UserError(
                f'{type(condition).__name__} names the classes of an image, but the data set has '
                'no `classes` in its metainfo: set them, or take another condition'
            )
        self._dataset = dataset

    def __call__(self, info: dict[str, Any], index: int | None = None) -> Source:
        """The image of an annotation entry, as conditions see it; ``index`` says which of joined data sets reads it."""
        if not self.wants_classes:
            return Source(info['img_path'], caption=info.get('caption'))
        areas = self._areas(info, index)
        largest = np.argsort(-areas, kind='stable')
        return Source(info['img_path'], tuple(self.classes[i] for i in largest if areas[i] > 0))

    def _areas(self, info: dict[str, Any], index: int | None) -> np.ndarray:
        """Pixels per class; of panoptic maps' stuff only whether it is there."""
        # the map beside a detector's objects has classes of its own: it is for a semantic head
        if info.get('seg_map_path') and not {'instances', 'segments_info'} & info.keys():
            loader: Any = map_loader(transforms_of(self._dataset, index)) or map_loader([])
            try:
                # It writes into what it is given and keeps state.
                labels = copy.copy(loader)(copy.deepcopy(info))['gt_seg_map']
            except OSError as error:  # a damaged file, in whose place training takes another sample
                print_log(f'{info["seg_map_path"]} cannot be read ({first_line(error)}).', 'current', logging.WARNING)
                return np.zeros(len(self.classes))
            counts = np.bincount(labels[labels < len(self.classes)].ravel().astype(int))
            return np.pad(counts, (0, len(self.classes) - len(counts)))
        areas = np.zeros(len(self.classes))
        for segment in info.get('segments_info', ()):
            areas[segment['category']] += 1
        for instance in info.get('instances', ()):
            x1, y1, x2, y2 = instance['bbox']
            areas[instance['bbox_label']] += (x2 - x1) * (y2 - y1)
        return areas
