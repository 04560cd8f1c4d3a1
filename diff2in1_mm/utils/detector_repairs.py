"""Faults of MMDetection that stop models of its own configs: mended where it is installed beside this package.

What is mended counts for MMDetection's own tools too, where the config imports the package.
"""

import functools
import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from .requirements import is_installed

__all__ = ['repair_detectors']


@functools.cache
def repair_detectors() -> None:
    """Mends what is told below. Without MMDetection there is nothing to do; a second call changes nothing."""
    if not is_installed('mmdet'):
        return
    paste_masks_outside_of_images(importlib.import_module('mmdet.models.roi_heads.mask_heads.fcn_mask_head'))
    fit_mixtures_in_double(importlib.import_module('mmdet.models.dense_heads.paa_head'))
    let_ssd_predict(importlib.import_module('mmdet.models.dense_heads.ssd_head').SSDHead)


def paste_masks_outside_of_images(module: Any) -> None:
    """Masks of boxes that lie outside of the image are empty on CPUs, as they are on GPUs.

    There MMDetection (up to 3.3) looks at the part of the image around the boxes only, whose right edge is then left
    of its left one. QueryInst does not cut its boxes to the image.

    Args:
        module (Any): Of ``FCNMaskHead``; changed in place.
    """
    paste = getattr(module, '_do_paste_mask', None)
    if paste is None:  # a version that does it in another way
        return

    @functools.wraps(paste)
    def pasted(masks: Tensor, boxes: Tensor, img_h: int, img_w: int, skip_empty: bool = True) -> tuple:
        reached = (boxes[:, :2] < boxes.new_tensor([img_w, img_h])).all() and (boxes[:, 2:] > 0).all()
        return paste(masks, boxes, img_h, img_w, skip_empty and bool(reached))

    module._do_paste_mask = pasted


def fit_mixtures_in_double(module: Any) -> None:
    """PAA and LAD fit their mixtures of losses in float64, as scikit-learn did before 1.7 whatever it was given.

    In float32 the variance of close losses becomes negative, and the fit fails: of 500 sets of 2 to 44 numbers of
    deviations up to 1, four.

    Args:
        module (Any): Of ``PAAHead``; changed in place. Without scikit-learn nothing is done, and the head says so.
    """
    mixtures = getattr(module, 'skm', None)
    if mixtures is None:
        return
    kind: Any = mixtures.GaussianMixture

    class DoubleMixture(kind):
        def fit(self, X: np.ndarray, y: Any = None) -> Any:  # noqa: N803
            return super().fit(X.astype(np.float64), y)

    module.skm = SimpleNamespace(GaussianMixture=DoubleMixture)


def let_ssd_predict(kind: Any) -> None:
    """SSD's head gets the ``loss_cls`` that the prediction of dense heads asks for in MMDetection 3.3.

    It computes its loss by a function of its own, and failed at each prediction (MMDetection's issue 11063). None says
    that its classes are the usual ones.

    Args:
        kind (Any): ``SSDHead``; changed in place.
    """
    init = kind.__init__

    @functools.wraps(init)
    def complete(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if not hasattr(self, 'loss_cls'):
            self.loss_cls = None

    kind.__init__ = complete
