"""How well predicted boundaries lie on true ones."""

import logging
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from mmengine.logging import print_log
from mmengine.registry import METRICS
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree

from ..tasks.index_maps import BoundariesTask
from ..utils.errors import UserError
from ..utils.values import check_whole, is_number
from .predicted_files import MetricWithFiles

__all__ = ['BoundaryF', 'boundary_counts', 'thin']


@METRICS.register_module()
class BoundaryF(MetricWithFiles):
    """F measure of boundaries after the benchmark of BSDS500 (Martin, Fowlkes and Malik, PAMI 2004; Arbelaez et al.,
    PAMI 2011), in percent.

    At each threshold predicted boundaries are thinned to lines and matched with the true ones, one pixel with one,
    within ``max_distance``. ``odsF`` is the F measure at the best threshold for the whole set (``threshold``),
    ``oisF`` that of the best threshold of each image. True boundaries are thinned, too, for those that are drawn wider
    than a pixel. The matching is the largest possible one (Hopcroft and Karp), where the benchmark's code looks for the
    one of least cost with a large cost for what is left alone, and the lines are those of :func:`thin`, where that code
    has a thinning of its own: its figures may differ a little, and were not compared.

    Samples have ``pred_boundary_map``, probabilities, and ``gt_boundary_map`` (1, 0, 255: does not count),
    (1, H, W); those without truth do not count.

    Args:
        max_distance (float): Of a match, as a share of the image's diagonal. Default 0.0075, BSDS500's and
            PASCAL-Context's; 0.011 for NYUv2.
        thresholds (int): So many between 0 and 1. Default 99, the benchmark's; fewer are quicker.
        output_dir (str | None): Folder for the predictions, 8-bit PNG of probabilities 0..1 as 0..255, named
            after the images, with folders where a name comes twice. Default None.
        keep_results (bool): Not used; MMSegmentation's tools/test.py gives it.
        collect_device, prefix: As in ``BaseMetric``.

    Raises:
        ValueError: Prediction and truth differ in size, or an option is out of range.
    """

    def __init__(
        self,
        max_distance: float = 0.0075,
        thresholds: int = 99,
        output_dir: str | None = None,
        keep_results: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(output_dir, BoundariesTask(), collect_device, prefix)
        check_whole('thresholds of BoundaryF', thresholds)
        if not is_number(max_distance, 0, 1):
            raise UserError(
                f'max_distance = {max_distance!r} of BoundaryF must be a share of the diagonal of an image, in [0, 1]: '
                "BSDS500's is 0.0075"
            )
        self.max_distance = max_distance
        self.thresholds = np.arange(1, thresholds + 1) / (thresholds + 1)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the counts of each image; zeros of one without truth."""
        for sample in data_samples:
            pred = sample['pred_boundary_map']['data'][0].float().cpu().numpy()
            if self.files is not None:
                self.files.write(sample['img_path'], (pred * 255).round().astype(np.uint8))
            counts = np.zeros((len(self.thresholds), 4), np.int64)
            if 'gt_boundary_map' in sample:
                truth = sample['gt_boundary_map']['data'][0].cpu().numpy()
                counts = boundary_counts(pred, truth, self.thresholds, self.max_distance)
            self.results.append(counts)

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """``odsF``, its ``threshold``, and ``oisF``; NaN without a true boundary."""
        counts = np.stack(results)
        if not counts[..., 3].any():
            print_log('BoundaryF met no true boundary', 'current', logging.WARNING)
            return dict(odsF=math.nan)
        whole = _f_measure(counts.sum(0))
        best = _f_measure(counts).argmax(1)
        own = counts[np.arange(len(counts)), best].sum(0)
        return dict(
            odsF=100 * float(whole.max()),
            threshold=float(self.thresholds[whole.argmax()]),
            oisF=100 * float(_f_measure(own)),
        )


def boundary_counts(
    pred: np.ndarray, truth: np.ndarray, thresholds: Sequence[float] | np.ndarray, max_distance: float
) -> np.ndarray:
    """Matches of one image; see :class:`BoundaryF`.

    Args:
        pred (ndarray): Probabilities (H, W).
        truth (ndarray): 1, 0, or 255 where a pixel does not count, (H, W).
        thresholds (Sequence[float]): Least probabilities of a boundary.
        max_distance (float): As a share of the diagonal.

    Returns:
        ndarray: int64 (thresholds, 4): predicted pixels that are matched, predicted pixels, true pixels that are
        matched, true pixels.
    """
    if pred.shape != truth.shape:
        raise UserError(
            f'the predicted boundaries are {pred.shape}, the true ones {truth.shape}: predictions must come back at '
            'the size of the original image'
        )
    radius = max_distance * math.hypot(*truth.shape)
    wanted = np.argwhere(thin(truth == 1))
    tree = cKDTree(wanted) if len(wanted) else None
    counts = np.zeros((len(thresholds), 4), np.int64)
    for row, threshold in zip(counts, thresholds):
        found = np.argwhere(thin((pred >= threshold) & (truth != 255)))
        matched = 0
        if len(found) and tree is not None:
            graph = cKDTree(found).sparse_distance_matrix(tree, radius, output_type='coo_matrix').tocsr()
            graph.data[:] = 1  # a distance of 0 is a pair, too
            matched = int((maximum_bipartite_matching(graph, 'column') >= 0).sum())
        row[:] = matched, len(found), matched, len(wanted)
    return counts


def _f_measure(counts: np.ndarray) -> np.ndarray:
    """Of counts (..., 4), (...)."""
    precision = counts[..., 0] / np.maximum(counts[..., 1], 1)
    recall = counts[..., 2] / np.maximum(counts[..., 3], 1)
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def thin(mask: np.ndarray) -> np.ndarray:
    """Lines of one pixel's width in the middle of what is set (Zhang and Suen, Communications of the ACM 1984).

    Args:
        mask (ndarray): bool (H, W).

    Returns:
        ndarray: bool (H, W).
    """
    rest = mask.astype(np.uint8)
    while True:
        before = cv2.countNonZero(rest)
        for removable in _removable():
            codes = cv2.filter2D(rest, cv2.CV_8U, _CODE, borderType=cv2.BORDER_CONSTANT)
            rest &= 1 - removable[codes]
        if cv2.countNonZero(rest) == before:
            return rest.astype(bool)


# Neighbours as bits of a byte, clockwise from the one above.
_CODE = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)


@cache
def _removable() -> tuple[np.ndarray, np.ndarray]:
    """For both halves of a pass: whether a pixel with these neighbours (a byte) goes, uint8 (256,)."""
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    turns = ((bits == 0) & (np.roll(bits, -1, 1) == 1)).sum(1)
    on_an_edge = (turns == 1) & (bits.sum(1) >= 2) & (bits.sum(1) <= 6)
    up, right, down, left = bits[:, ::2].T
    halves = (up * right * down, right * down * left), (up * right * left, up * down * left)
    first, second = (on_an_edge & (a == 0) & (b == 0) for a, b in halves)
    return first.astype(np.uint8), second.astype(np.uint8)
