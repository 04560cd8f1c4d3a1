"""The normal head of the released code: decoder, sampling and loss of Bae et al."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from .normal_decoder import NormalDecoder
from .targets import batch_size_of, normal_target, resized


@MODELS.register_module()
class NormalHead(BaseModule):
    """:class:`NormalDecoder` as a decode head of ``NormalEstimator``.

    Args:
        in_channels (Sequence[int]): Of five maps, finest first, as ``DiffusionAggregator`` gives
            them. Default: EfficientNet-B5's.
        channels (int): Width of the decoder's coarsest level. Default 2048.
        uncertainty_sampling (bool): Train the finer scales on sampled, mostly uncertain pixels;
            False: on all. Default True.
        sampling_ratio, importance_ratio (float): See :class:`NormalDecoder`.
        loss_decode (dict): Default ``dict(type='MultiscaleNormalLoss')``.
        init_cfg (dict | None): As in MMEngine.
    """

    align_corners = False
    num_classes = 3
    out_channels = 4
    learns = 'normals'

    def __init__(
        self,
        in_channels: Sequence[int] = (24, 40, 64, 176, 2048),
        channels: int = 2048,
        uncertainty_sampling: bool = True,
        sampling_ratio: float = 0.4,
        importance_ratio: float = 0.7,
        loss_decode: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.decoder = NormalDecoder(in_channels, channels, sampling_ratio, importance_ratio)
        self.uncertainty_sampling = uncertainty_sampling
        self.loss_decode = MODELS.build(loss_decode or dict(type='MultiscaleNormalLoss'))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Normals and kappa, (N, 4, H, W), at twice the finest map's size.

        In training mode only sampled pixels are refined, as in the released code, which makes
        theta_C's targets so (``target_mode='train'``).
        """
        return self.decoder(inputs, sampled=self.training and self.uncertainty_sampling)[-1].maps

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: Sequence[Any], train_cfg: Any) -> dict[str, Tensor]:
        """The loss over all scales."""
        target, mask = normal_target(batch_data_samples)
        finest = tuple(2 * side for side in inputs[0].shape[-2:])
        places = resized((mask > 0).float()[:, None], finest) > 0.5  # where sampling may look
        scales = self.decoder(inputs, self.uncertainty_sampling, places)
        pairs = [(s.maps, None) if s.points is None else (s.points, s.coordinates) for s in scales]
        return {self.loss_decode.loss_name: self.loss_decode(pairs, target, mask)}

    def predict(self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: Any) -> Tensor:
        """Unit normals and kappa, (N, 4, H, W), at the size of the batch."""
        maps = resized(self(inputs), batch_size_of(batch_img_metas))
        return torch.cat([F.normalize(maps[:, :3], dim=1), maps[:, 3:]], dim=1)
