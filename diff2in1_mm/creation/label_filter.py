"""Pixels of a source's label map that the generated picture does not show, by the model's loss there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from ..tasks.base import Label
from ..tasks.segmentation import read_as, share_ignored
from ..utils.errors import UserError
from ..utils.values import is_number, spread_over
from .batch_labels import BatchLabels
from .composing import read_source
from .plan import source_entry, source_indices
from .settings import CreationSettings

__all__ = ['ClassLossFilter', 'check_filter', 'filter_of', 'source_losses']

MOST_IMAGES = 500  # that the mean losses are measured on


class ClassLossFilter:
    """Ignores pixels whose loss exceeds so many times their class's mean on real images.

    The filter of FreeMask (Yang et al. 2023, sec. 3.3): where a generator has drawn something else than the label map
    says, a model that was trained on real images is far from the label, by more than it is for hard classes anyway.

    Args:
        factor (float): Of the class's mean loss; FreeMask has 1.25.
        labels (BatchLabels): Whose model judges.
        means (Tensor): Mean loss of each class on real images, (classes,); infinite for a class that they do not show.
    """

    def __init__(self, factor: float, labels: BatchLabels, means: torch.Tensor) -> None:
        self._labels: BatchLabels = labels
        self._labeller: Any = labels.labeller.labellers['segmentation']
        self._limits = means * factor

    @classmethod
    def measured(
        cls, factor: float, labels: BatchLabels, dataset: Any, settings: CreationSettings
    ) -> 'ClassLossFilter':
        """With the mean losses of the labels' model on the source images, or on 500 that are spread over them."""
        sources = source_indices(dataset)[: settings.limit]
        chosen = [sources[place] for place in spread_over(len(sources), MOST_IMAGES)]
        print_log(f"Measuring the model's loss by class on {len(chosen)} source images", 'current')
        classes: Any = labels.labeller.count_classes(labels.model)
        sums, counts = torch.zeros(2, classes, dtype=torch.float64)
        for _, losses, targets in source_losses(labels, dataset, settings, chosen):
            known = targets < classes
            sums.index_add_(0, targets[known].cpu(), losses[known].double().cpu())
            counts.index_add_(0, targets[known].cpu(), torch.ones(int(known.sum()), dtype=torch.float64))
        return cls(factor, labels, torch.where(counts > 0, sums / counts.clamp_min(1), torch.inf).float())

    def __call__(
        self, pixels: torch.Tensor, found: Sequence[Label | None], entries: Sequence[Mapping[str, Any]]
    ) -> list[Label | None]:
        """Labels of sources as :class:`BatchLabels` gives them, with the pixels that do not fit ignored.

        Args:
            pixels (Tensor): Generated pictures, uint8 RGB (N, 3, H, W).
            found (Sequence[Label | None]): The labels of their sources; None of one without a label map.
            entries (Sequence[Mapping]): Annotation entries of these.
        """
        there = [i for i, label in enumerate(found) if label is not None]
        if not there:
            return list(found)
        losses, targets = _judged(self._labels, pixels[there], [found[i] for i in there], [entries[i] for i in there])
        limits = self._limits.to(losses.device)
        classes = len(limits)
        odd = ((losses > limits[targets.clamp_max(classes - 1)]) & (targets < classes)).cpu().numpy()
        judged = {i: self._ignoring(found[i], odd[place], entries[i]) for place, i in enumerate(there)}
        return [judged.get(i) for i in range(len(found))]

    def _ignoring(self, label: Any, odd: np.ndarray, entry: Mapping[str, Any]) -> Label:
        raw = label.annotation['segmentation']
        ignored = self._labeller.to_raw(np.full(raw.shape, self._labeller.ignore_index), entry)
        raw = np.where(odd, ignored, raw)
        share = share_ignored(raw, entry, self._labeller.ignore_index)
        return Label(dict(segmentation=raw), dict(label.quality, ignored=share, filtered=float(odd.mean())))


def source_losses(
    labels: BatchLabels, dataset: Any, settings: CreationSettings, indices: Sequence[int]
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """The model's loss at each pixel of source images, (1, H, W), and what their label maps say there.

    Yields:
        tuple[int, Tensor, Tensor]: With the image's index; images that cannot be read or have no map are left out.
    """
    for index in indices:
        try:
            image, entries = read_source(dataset, index, settings), [source_entry(dataset, index)]
            found = labels.labeller.source_labels(image.shape[:2], entries)
        except OSError:  # the job names it as a source that cannot be read
            continue
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
        if found[0] is not None:
            yield index, *_judged(labels, pixels, [found[0]], entries)


def _judged(
    labels: BatchLabels, pixels: torch.Tensor, found: Sequence[Any], entries: Sequence[Mapping[str, Any]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The model's loss at each pixel (N, H, W) and what the sources' label maps say there."""
    labeller: Any = labels.labeller.labellers['segmentation']
    maps = [read_as(e)[label.annotation['segmentation']] for e, label in zip(entries, found)]
    device = next(labels.model.parameters()).device
    targets = torch.from_numpy(np.stack(maps).astype(np.int64)).to(device)
    return labeller.losses(labels.model, labels.preprocessed(pixels.to(device)), targets), targets


def check_filter(settings: CreationSettings, labels: BatchLabels) -> None:
    """Whether ``creation.filter_above`` can be done.

    Raises:
        ValueError: It is no number above 0, or the labels are none of source images' label maps.
    """
    factor = settings.filter_above
    if factor is None:
        return
    if not is_number(factor, 0) or not factor:
        raise UserError(f'creation.filter_above = {factor!r} must be a number above 0 (FreeMask has 1.25)')
    if settings.label_from != 'source' or labels.tasks != ('segmentation',):
        raise UserError(
            "creation.filter_above looks for pixels that do not show what their source's label map says: it needs "
            "label_from='source' and a model that learns label maps; leave it out"
        )


def filter_of(settings: CreationSettings, labels: BatchLabels, dataset: Any) -> ClassLossFilter | None:
    """What ``creation.filter_above`` asks for, its means measured; None without it.

    Raises:
        ValueError: See :func:`check_filter`.
    """
    check_filter(settings, labels)
    if settings.filter_above is None:
        return None
    return ClassLossFilter.measured(settings.filter_above, labels, dataset, settings)
