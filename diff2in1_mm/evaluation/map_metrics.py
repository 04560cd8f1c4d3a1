"""Figures of what is salient, and of maps of classes some samples may lack."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import METRICS
from mmseg.evaluation.metrics import IoUMetric

from ..tasks.index_maps import SaliencyTask
from ..utils.errors import UserError
from .predicted_files import MetricWithFiles

__all__ = ['MapIoU', 'SaliencyF']

_STEPS = 20  # thresholds 0.05, 0.1, ... 0.95 as in ASTMT and InvPT
_BETA_SQUARED = 0.3


@METRICS.register_module()
class SaliencyF(MetricWithFiles):
    """``maxF`` of saliency, in percent: the F measure of precision and recall over all pixels of the set with
    ``beta^2 = 0.3`` (Achanta et al., CVPR 2009), at the best of the thresholds 0.05 to 0.95.

    Samples have ``pred_saliency_map``, probabilities, and ``gt_saliency_map`` (1, 0, 255: does not count),
    (1, H, W); those without truth do not count.

    Args:
        output_dir (str | None): Folder for the predictions, 8-bit PNG of probabilities 0..1 as 0..255. Default None.
        keep_results (bool): Not used; MMSegmentation's tools/test.py gives it.
        collect_device, prefix: As in ``BaseMetric``.

    Raises:
        ValueError: Prediction and truth differ in size.
    """

    def __init__(
        self,
        output_dir: str | None = None,
        keep_results: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(output_dir, SaliencyTask(), collect_device, prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the counts of each image."""
        for sample in data_samples:
            pred = sample['pred_saliency_map']['data'][0].float().cpu().numpy()
            if self.files is not None:
                self.files.write(sample['img_path'], (pred * 255).round().astype(np.uint8))
            counts = np.zeros((_STEPS, 2), np.int64)  # of each step of probability: not salient, salient
            if 'gt_saliency_map' in sample:
                truth = sample['gt_saliency_map']['data'][0].cpu().numpy()
                if truth.shape != pred.shape:
                    raise UserError(
                        f'the predicted saliency is {pred.shape}, the true one {truth.shape}: predictions must come '
                        'back at the size of the original image'
                    )
                step = np.minimum((pred * _STEPS).astype(np.int64), _STEPS - 1)
                for label in (0, 1):
                    counts[:, label] = np.bincount(step[truth == label], minlength=_STEPS)
            self.results.append(counts)

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """``maxF``; NaN without a salient pixel."""
        counts = np.sum(results, axis=0)
        if not counts[:, 1].any():
            print_log('SaliencyF met no salient pixel', 'current', logging.WARNING)
            return dict(maxF=math.nan)
        above = counts[::-1].cumsum(0)[::-1][1:]  # at thresholds 0.05, ...
        precision = above[:, 1] / np.maximum(above.sum(1), 1)
        recall = above[:, 1] / counts[:, 1].sum()
        measure = (1 + _BETA_SQUARED) * precision * recall / np.maximum(_BETA_SQUARED * precision + recall, 1e-12)
        return dict(maxF=100 * float(measure.max()))


@METRICS.register_module()
class MapIoU(IoUMetric):
    """MMSegmentation's ``IoUMetric`` of parts, or of label maps that some samples lack; those do not count.

    Args:
        field (str): 'part_map' (default) or 'sem_seg'.
        classes (Sequence[str] | None): Names; None: those of the data set, for 'sem_seg'.
        **kwargs: As in ``IoUMetric``.

    Raises:
        ValueError: Parts without names.
    """

    def __init__(self, field: str = 'part_map', classes: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if classes is None and field != 'sem_seg':
            raise UserError(f'MapIoU of {field!r} needs the names of its classes: give `classes`')
        self.field, self.classes = field, None if classes is None else tuple(classes)

    @property
    def dataset_meta(self) -> dict | None:
        """dict | None: The data set's, with the names of this metric's classes."""
        return self._dataset_meta if self.classes is None else dict(self._dataset_meta or {}, classes=self.classes)

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Counts of each image; zeros of one without truth."""
        number = len((self.dataset_meta or {})['classes'])
        for sample in data_samples:
            if f'gt_{self.field}' in sample or self.format_only:
                renamed = dict(sample, pred_sem_seg=sample[f'pred_{self.field}'])
                renamed['gt_sem_seg'] = sample.get(f'gt_{self.field}')
                if self.field != 'sem_seg':  # what is written are indices; the data set's option is of its label maps
                    renamed['reduce_zero_label'] = False
                super().process(data_batch, [renamed])
            else:
                self.results.append((torch.zeros(number),) * 4)
