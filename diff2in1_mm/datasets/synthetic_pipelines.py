"""The pipelines that load synthetic samples: the wrapped data sets' own, where these can."""

import copy
from typing import Any

import torch
from mmengine.structures import PixelData

from ..tasks.semantic_heads import IGNORED

__all__ = ['SyntheticPipelines', 'loads_label_maps', 'wants_polygons', 'with_label_map']


class SyntheticPipelines:
    """The pipeline of each data set for the images of a store.

    A copy where transforms remember images (``CachedMosaic``, ``CachedMixUp``), which then are of
    one kind, or where the data set's files are read by ``backend_args``: a store lies on the disk.
    """

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Any, Any]] = {}

    def of(self, base: Any) -> Any:
        """The pipeline for synthetic images in place of those of ``base``, a data set."""
        if not _with(base.pipeline, 'results_cache') and not _with(base.pipeline, 'backend_args'):
            return base.pipeline
        real, own = self._copies.get(id(base), (None, None))
        if real is not base.pipeline:  # new, or switched by a hook
            own = copy.deepcopy(base.pipeline)
            for transform in _with(own, 'results_cache'):
                transform.results_cache = []
            for transform in _with(own, 'backend_args'):
                transform.backend_args = None
            self._copies[id(base)] = base.pipeline, own
        return own

    def forget(self) -> None:
        """To be called when another round is served, of which nothing is remembered yet."""
        self._copies.clear()


def _with(pipeline: Any, name: str) -> list[Any]:
    """The transforms with an attribute that is not None."""
    return [t for t in getattr(pipeline, 'transforms', ()) if getattr(t, name, None) is not None]


def wants_polygons(pipeline: Any) -> bool:
    """Whether a pipeline keeps masks as polygons."""
    return any(
        getattr(t, 'with_mask', False) and not getattr(t, 'poly2mask', True)
        for t in getattr(pipeline, 'transforms', ())
    )


def loads_label_maps(pipeline: Any) -> bool:
    """Whether a pipeline loads a label map with each image, for the semantic head of a detector (HTC, SCNet)."""
    return any(getattr(t, 'with_seg', False) for t in getattr(pipeline, 'transforms', ()))


def with_label_map(results: Any) -> Any:
    """A detector's sample with a label map, all of it ignored where it has none: stores of objects hold none.

    Args:
        results (Any): Of a pipeline; changed in place. What is no packed sample of a detector stays as it is.
    """
    sample = results.get('data_samples') if isinstance(results, dict) else None
    if sample is not None and 'gt_instances' in sample and 'gt_sem_seg' not in sample:
        size = results['inputs'].shape[-2:]
        sample.gt_sem_seg = PixelData(sem_seg=torch.full((1, *size), IGNORED, dtype=torch.uint8))
    return results
