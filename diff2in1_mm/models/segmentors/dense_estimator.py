"""Backbone, neck and head that predict a continuous map."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from ...utils.errors import UserError
from ...utils.image_values import size_of
from .maps import Maps
from .windows import check_windows, decode, overlaid, window_corners

__all__ = ['DenseEstimator']

_MODES = ('whole', 'slide')


class DenseEstimator(Maps, EncoderDecoder):
    """What normals, depth and several tasks at once share: inference by windows and with a flip, and the
    way back to the original image. Training is ``EncoderDecoder``'s; what its maps are a subclass of
    :class:`Maps` says.

    ``test_cfg``: ``mode`` 'whole' or 'slide' (``crop_size``, ``stride``: height and width in
    pixels), ``flip`` to average with the mirrored image, ``window_batch`` windows per forward
    (default: all windows and their mirror images in one).

    Args:
        **kwargs: As in ``EncoderDecoder``.

    Raises:
        ValueError: Unknown ``test_cfg.mode``, or windows that leave gaps.

    Attributes:
        label_tasks (tuple[str, ...]): What it learns from, such as ('normals',), see
            :mod:`diff2in1_mm.tasks`.
    """

    label_tasks: tuple[str, ...]

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        mode = (self.test_cfg or {}).get('mode', 'whole')
        if mode not in _MODES:
            raise UserError(
                f'test_cfg.mode of {type(self).__name__} is one of {_MODES}, not '
                f'{mode!r}; for a mirrored pass add flip=True'
            )
        if mode == 'slide':
            check_windows(self.test_cfg)

    # inference

    def inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Maps (N, C, H, W) of preprocessed images (N, 3, H, W)."""
        test_cfg = self.test_cfg or {}
        size = size_of(inputs)
        windows = [(0, 0)]
        crop = size
        if test_cfg.get('mode', 'whole') == 'slide':
            height, width = test_cfg['crop_size']
            crop = min(height, size[0]), min(width, size[1])
            windows = window_corners(size, crop, test_cfg['stride'])
        crops = [inputs[..., y : y + crop[0], x : x + crop[1]] for y, x in windows]
        if test_cfg.get('flip', False):
            crops += [c.flip(-1) for c in crops]
        found = decode(self, crops, max(1, test_cfg.get('window_batch') or len(crops)))
        if test_cfg.get('flip', False):
            found = self._averaged(found[: len(windows)], found[len(windows) :])
        if len(windows) == 1:
            return found[0]
        return self.finish(overlaid(found, windows, size))

    def _averaged(self, found: Sequence[Tensor], mirrored: Sequence[Tensor]) -> list[Tensor]:
        """Maps of windows, averaged with those of their mirror images."""
        return [self.finish((maps + self.unflip(other)) / 2) for maps, other in zip(found, mirrored)]

    def postprocess_result(self, seg_logits: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> Any:
        """Maps (N, C, H, W) in batch coordinates, as fields of samples at the original size."""
        if data_samples is None:
            data_samples = [SegDataSample() for _ in seg_logits]
        for maps, sample in zip(seg_logits, data_samples):
            own = self._original(maps[None], sample.metainfo)[0]
            sample.set_data({name: PixelData(data=value) for name, value in self.fields(own).items()})
        return data_samples

    def _original(self, maps: Tensor, meta: dict[str, Any]) -> Tensor:
        """Without padding, flip and resize of the pipeline; (1, C, H, W) both."""
        left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
        maps = maps[..., top : maps.shape[-2] - bottom, left : maps.shape[-1] - right]
        if meta.get('flip'):
            maps = self.unflip(maps, meta.get('flip_direction', 'horizontal'))
        size = tuple(meta.get('ori_shape', maps.shape[-2:])[:2])
        if size != tuple(maps.shape[-2:]):
            maps = F.interpolate(maps, size, mode='bilinear', align_corners=self.align_corners)
        return self.finish(maps)
