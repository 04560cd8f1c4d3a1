"""Errors of surface normals as the literature reports them."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.registry import METRICS
from torch import Tensor

from ..tasks.normals import NormalsTask
from ..utils.errors import UserError
from .predicted_files import MetricWithFiles

# The median is taken from counts in bins of this width, so that a test set of 200 million pixels
# need not be kept: degrees.
_BIN = 180 / 2**16


@METRICS.register_module()
class NormalMetric(MetricWithFiles):
    """Angular error between predicted and true normals, over all valid pixels of the set.

    Figures, in degrees: ``mean``, ``median`` (of all pixels of all processes, to 0.003 degrees),
    ``rmse``; in percent: ``a5``, ``a7.5``, ``a11.25``, ``a22.5``, ``a30``, the share of pixels
    with a smaller error. Everything is computed in floats (the released code goes through 8-bit
    images and takes 3.14 for pi).

    Samples have ``pred_normal_map`` and ``gt_normal_map``, (3, H, W); predictions need not have
    unit length. Pixels whose true normal is the zero vector do not count; a predicted zero vector
    counts as 90 degrees off.

    Args:
        thresholds (Sequence[float]): In degrees.
        output_dir (str | None): Folder for the predictions, 16-bit PNG as in a store, named after
            the images, with folders where a name comes twice. Default None.
        keep_results (bool): Not used; MMSegmentation's tools/test.py gives it.
        collect_device (str): As in ``BaseMetric``. Default 'cpu'.
        prefix (str | None): As in ``BaseMetric``.

    Raises:
        ValueError: Prediction and truth differ in size.
    """

    def __init__(
        self,
        thresholds: Sequence[float] = (5, 7.5, 11.25, 22.5, 30),
        output_dir: str | None = None,
        keep_results: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(output_dir, NormalsTask(), collect_device, prefix)
        self.thresholds = tuple(thresholds)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what is needed of each image: sums, and the counts of its errors."""
        for sample in data_samples:
            pred = sample['pred_normal_map']['data']
            errors = np.empty(0)  # a set of several kinds of labels may lack some
            if 'gt_normal_map' in sample:
                errors = angular_error(pred, sample['gt_normal_map']['data']).cpu().numpy()
            if self.files is not None:
                unit = F.normalize(pred[:3].float(), dim=0)
                self.files.write(sample['img_path'], unit.permute(1, 2, 0).cpu().numpy())
            bins, counts = np.unique(np.minimum(errors / _BIN, 2**16 - 1).astype(np.uint16), return_counts=True)
            self.results.append(
                dict(
                    pixels=errors.size,
                    total=float(errors.sum()),
                    squares=float((errors**2).sum()),
                    below=[int((errors < limit).sum()) for limit in self.thresholds],
                    bins=bins,
                    counts=counts.astype(np.int32),
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The figures of the whole set; NaN without a valid pixel."""
        pixels = sum(result['pixels'] for result in results)
        if not pixels:
            print_log('NormalMetric met no pixel with a true normal', 'current', logging.WARNING)
            return dict(mean=math.nan, median=math.nan, rmse=math.nan)
        counts = np.zeros(2**16, np.int64)
        for result in results:
            counts[result['bins']] += result['counts']
        middle = np.searchsorted(counts.cumsum(), (pixels + 1) / 2)
        found = dict(
            mean=sum(r['total'] for r in results) / pixels,
            median=(float(middle) + 0.5) * _BIN,
            rmse=math.sqrt(sum(r['squares'] for r in results) / pixels),
        )
        for i, limit in enumerate(self.thresholds):
            found[f'a{limit:g}'] = 100 * sum(r['below'][i] for r in results) / pixels
        return found


def angular_error(pred: Tensor, target: Tensor) -> Tensor:
    """Angles between normals, of the pixels that have a true one.

    By atan2 of cross and dot product, which is exact for small angles too, where the arc cosine
    loses half of the digits.

    Args:
        pred (Tensor): (3 or more, H, W); further channels (kappa) are not looked at.
        target (Tensor): (3, H, W); the zero vector marks pixels without ground truth.

    Returns:
        Tensor: Degrees in [0, 180], float64 (valid pixels,).

    Raises:
        ValueError: The maps differ in size.
    """
    if pred.shape[-2:] != target.shape[-2:]:
        raise UserError(
            f'the predicted normals are {tuple(pred.shape[-2:])}, the true ones {tuple(target.shape[-2:])}: '
            'predictions must come back at the size of the original image'
        )
    valid = (target != 0).any(dim=0)
    a, b = pred[:3, valid].double(), target[:, valid].double()
    cross = torch.linalg.cross(a, b, dim=0).norm(dim=0)
    angles = torch.atan2(cross, (a * b).sum(dim=0)).rad2deg()
    # atan2(0, 0) is 0, which would call no prediction a perfect one; a vector without direction has
    # a cosine of 0 with every normal
    return torch.where((a != 0).any(dim=0), angles, 90.0)
