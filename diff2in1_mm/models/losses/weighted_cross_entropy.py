"""Class weights together with ignored pixels."""

import torch
from mmengine.registry import MODELS
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor

from ...utils.errors import UserError


@MODELS.register_module()
class WeightedCrossEntropyLoss(CrossEntropyLoss):
    """MMSegmentation's ``CrossEntropyLoss`` for ``class_weight`` where pixels are ignored.

    Version 1.2.2 looks up the weight of every label, and fails on that of ignored pixels
    (``IndexError: index 255 is out of bounds``, mmsegmentation issue 3734); here they have none. What
    theta_C is less sure of than ``confidence`` is ignored. Equal to the original where no pixel is.

    Args:
        class_weight (list[float]): Weight of each class.
        avg_non_ignore (bool): The weighted mean is over labelled pixels only. False (default):
            an ignored pixel counts in the denominator, with weight 1.
        **kwargs: ``loss_weight`` and ``loss_name`` as in the original; its
            ``use_sigmoid`` and ``use_mask`` have no such fault.

    Raises:
        ValueError: ``use_sigmoid`` or ``use_mask`` is set, or there is no ``class_weight``.
    """

    def __init__(self, class_weight: list, avg_non_ignore: bool = False, **kwargs) -> None:
        super().__init__(class_weight=class_weight, avg_non_ignore=avg_non_ignore, **kwargs)
        if self.use_sigmoid or self.use_mask or self.class_weight is None:
            raise UserError(
                'WeightedCrossEntropyLoss is for a softmax with class_weight: take '
                "type='CrossEntropyLoss' for anything else."
            )

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int = -100,
        **kwargs,
    ) -> Tensor:
        """Weighted mean over the pixels.

        Args:
            cls_score (Tensor): Logits, (N, C, H, W).
            label (Tensor): Classes or ``ignore_index``, (N, H, W).
            weight (Tensor, optional): Of each pixel, (N, H, W).
            avg_factor (float | Tensor, optional): Denominator of the mean, in place of the sum of weights.
            reduction_override (str, optional): 'none', 'mean' or 'sum'.
            ignore_index (int): Label of ignored pixels.

        Returns:
            Tensor: Scalar; (N, H, W) without reduction.
        """
        if avg_factor is None and (reduction_override or self.reduction) == 'mean':
            ignored = label == ignore_index
            # float32: the sum over a batch is beyond what float16 holds
            of_classes = torch.tensor(self.class_weight, dtype=torch.float32, device=cls_score.device)
            weights = of_classes[label.masked_fill(ignored, 0)]
            weights = weights.masked_fill(ignored, 0.0 if self.avg_non_ignore else 1.0)
            # all ignored: 0 and not NaN
            avg_factor = weights.sum().clamp_min(1e-6)
        return super().forward(cls_score, label, weight, avg_factor, reduction_override, ignore_index, **kwargs)
