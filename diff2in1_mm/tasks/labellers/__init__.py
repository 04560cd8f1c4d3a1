"""Labels from theta_C, one module per kind of label."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ...utils.errors import UnfitError, UserError, did_you_mean, options_of
from ...utils.optional import is_installed
from .base import Label, Labeller
from .detection import DetectionLabeller
from .panoptic import PanopticLabeller
from .scenes import DepthLabeller, NormalsLabeller
from .segmentation import SegmentationLabeller, SegmentationPrediction

__all__ = [
    'DepthLabeller',
    'DetectionLabeller',
    'Label',
    'Labeller',
    'NormalsLabeller',
    'PanopticLabeller',
    'SegmentationLabeller',
    'SegmentationPrediction',
    'labeller_for',
]


def labeller_for(
    model: nn.Module, confidence: None | float | Sequence[float] = None, options: Mapping[str, Any] | None = None
) -> Labeller:
    """The labeller for a model.

    Args:
        model (nn.Module): Without wrapper.
        confidence (float | Sequence[float] | None): Threshold; None takes the task's default.
        options (Mapping | None): Other arguments of the labeller.

    Raises:
        TypeError: No labeller knows this kind of model.
        ValueError: An option that the labeller does not have, or out of range.
    """
    kind = _kind(model)
    try:
        return kind(model, confidence, **(options or {}))
    except TypeError as error:
        known = [name for name in options_of(kind) if name not in ('model', 'confidence')]
        for name in options or {}:
            if name not in (*known, 'model', 'confidence'):
                raise UserError(
                    f'{kind.__name__} has no labelling option {name!r}'
                    + (did_you_mean(name, known) if known else ': beyond `confidence` it has none')
                ) from error
        raise UserError(
            f'labelling={dict(options or {})} does not fit {kind.__name__} ({error}): see its arguments.'
        ) from error


def _kind(model: nn.Module) -> type:
    # our estimators say themselves what they are: synthesis does not import models
    task = getattr(model, 'label_task', None)
    if task is not None:
        return dict(normals=NormalsLabeller, depth=DepthLabeller)[task]
    if is_installed('mmseg'):
        from mmseg.models.segmentors import DepthEstimator, EncoderDecoder

        for known, kind in ((DepthEstimator, DepthLabeller), (EncoderDecoder, SegmentationLabeller)):
            if isinstance(model, known):
                return kind
    if is_installed('mmdet'):
        from mmdet.models.detectors import BaseDetector, MaskFormer, TwoStagePanopticSegmentor

        if isinstance(model, MaskFormer):
            panoptic = model.panoptic_fusion_head.test_cfg.get('panoptic_on', True)
            return PanopticLabeller if panoptic else DetectionLabeller
        if getattr(getattr(model, 'roi_head', None), 'with_semantic', False):
            raise UnfitError(
                f'theta_C cannot label for {type(model).__name__}: its semantic head '
                'learns from maps that theta_C does not make; leave that head out.'
            )
        if isinstance(model, BaseDetector) and not isinstance(model, TwoStagePanopticSegmentor):
            return DetectionLabeller
    raise UnfitError(
        f'theta_C cannot label for {type(model).__name__}: self-improvement works on '
        "MMSegmentation's segmentors (EncoderDecoder), on NormalEstimator and "
        "DepthMapEstimator, and on MMDetection's detectors "
        'and mask transformers (MaskFormer, Mask2Former).'
    )
