"""Errors of depth as the literature reports them."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import METRICS
from torch import Tensor

from ..tasks.depth import MAX_PNG_DEPTH, DepthArrayTask, DepthTask
from ..utils.errors import UserError
from ..utils.values import check_choice
from .predicted_files import MetricWithFiles

# Rows and columns (top, bottom, left, right) that count: of Eigen et al. (NeurIPS 2014) on NYUv2's
# 480 x 640 as BTS and VPD take them, and of KITTI by Garg et al. and Eigen et al., as shares.
_NYU = (45 / 480, 471 / 480, 41 / 640, 601 / 640)
_CROPS = {
    None: (0.0, 1.0, 0.0, 1.0),
    'nyu_eigen': _NYU,
    'bts': _NYU,
    'kitti_eigen': (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    'kitti_garg': (0.40810811, 0.99189189, 0.03594771, 0.96405229),
}


@METRICS.register_module()
class DepthErrors(MetricWithFiles):
    """Depth errors, averaged over the images as in Eigen et al. (NeurIPS 2014), section 4.

    ``abs_rel``, ``sq_rel`` (metres), ``rmse`` (metres), ``rmse_log``, ``log10``, ``silog`` (100
    times the deviation of the log difference), and ``d1``, ``d2``, ``d3``: the share of pixels
    whose ratio to the truth, or the inverse, is below 1.25, 1.25^2, 1.25^3.

    Samples have ``pred_depth_map`` and ``gt_depth_map``, (1, H, W), metres.

    Args:
        min_depth, max_depth (float): Metres; truth outside does not count, predictions are cut to
            it. Defaults 0.001 and 10, NYUv2's.
        crop (str | None): The part of the image that counts: 'nyu_eigen' ('bts' is the same),
            'kitti_eigen', 'kitti_garg'. Default None: all of it.
        output_dir (str | None): Folder for the predictions, as in a store: 16-bit PNG in
            millimetres, or ``.npy`` where ``max_depth`` is beyond its reach. They are named after
            the images, with folders where a name comes twice. Default None.
        keep_results (bool): Not used; MMSegmentation's tools/test.py gives it.
        collect_device, prefix: As in ``BaseMetric``.

    Raises:
        ValueError: Unknown crop, or prediction and truth differ in size.
    """

    def __init__(
        self,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        crop: str | None = None,
        output_dir: str | None = None,
        keep_results: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        task = DepthTask() if max_depth <= MAX_PNG_DEPTH else DepthArrayTask()
        super().__init__(output_dir, task, collect_device, prefix)
        check_choice('crop of DepthErrors', crop, _CROPS)
        self.range, self.crop = (min_depth, max_depth), crop

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the errors of each image; none of one without valid depth.

        It has its entry, too: what samplers give twice is dropped by the number of entries.
        """
        for sample in data_samples:
            pred = sample['pred_depth_map']['data']
            if self.files is not None:
                self.files.write(sample['img_path'], pred[0].float().clamp(0, self.range[1]).cpu().numpy())
            known = 'gt_depth_map' in sample  # a set of several kinds of labels may lack some
            found = depth_errors(pred, sample['gt_depth_map']['data'], self.range, self.crop) if known else None
            self.results.append(found or {})

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """The means over the images; NaN if none has valid depth."""
        found = [errors for errors in results if errors]
        if not found:
            print_log('DepthErrors met no image with valid depth', 'current', logging.WARNING)
            return dict(abs_rel=math.nan, rmse=math.nan)
        return {name: sum(errors[name] for errors in found) / len(found) for name in found[0]}


def depth_errors(
    pred: Tensor, target: Tensor, limits: tuple[float, float] = (1e-3, 10.0), crop: str | None = None
) -> dict[str, float] | None:
    """Errors of one image; see :class:`DepthErrors`.

    Args:
        pred, target (Tensor): Metres, (1, H, W).
        limits (tuple[float, float]): Least and largest depth that counts.
        crop (str | None): As in :class:`DepthErrors`.

    Returns:
        dict[str, float] | None: None without a valid pixel.
    """
    if pred.shape != target.shape:
        raise UserError(
            f'the predicted depth is {tuple(pred.shape)}, the true one {tuple(target.shape)}: predictions must come '
            'back at the size of the original image'
        )
    height, width = target.shape[-2:]
    top, bottom, left, right = _CROPS[crop]
    part = (
        slice(None),
        slice(_floor(top * height), _floor(bottom * height)),
        slice(_floor(left * width), _floor(right * width)),
    )
    pred, target = pred[part].double(), target[part].double()
    valid = (target > limits[0]) & (target < limits[1])
    pred, target = pred[valid].clamp(*limits), target[valid]
    if not len(target):
        return None
    difference, logs = pred - target, pred.log() - target.log()
    ratio = torch.maximum(pred / target, target / pred)
    found = dict(
        abs_rel=(difference.abs() / target).mean(),
        sq_rel=(difference.square() / target).mean(),
        rmse=difference.square().mean().sqrt(),
        rmse_log=logs.square().mean().sqrt(),
        log10=(logs / math.log(10)).abs().mean(),
        silog=100 * (logs.square().mean() - logs.mean().square()).clamp_min(0).sqrt(),
    )
    for power in (1, 2, 3):
        found[f'd{power}'] = (ratio < 1.25**power).double().mean()
    return dict(zip(found, torch.stack(list(found.values())).tolist()))  # one wait for the device


def _floor(value: float) -> int:
    """As the evaluation codes cut, whatever rounding made of a whole number."""
    return int(value + 1e-6)
