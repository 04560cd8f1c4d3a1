"""Backbone, neck and head that predict a continuous map."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from ...utils.errors import UserError, did_you_mean
from ...utils.image_values import size_of
from ...utils.values import check_choice
from .maps import Maps
from .windows import check_window_batch, check_windows, decode, overlaid, window_corners, windows_at_once

__all__ = ['DenseEstimator']

_MODES = ('whole', 'slide')
_TEST_OPTIONS = ('mode', 'crop_size', 'stride', 'flip', 'window_batch')


class DenseEstimator(Maps, EncoderDecoder):
    """What normals, depth and several tasks at once share: inference by windows and with a flip, and the
    way back to the original image. Training is ``EncoderDecoder``'s; what its maps are a subclass of
    :class:`Maps` says.

    ``test_cfg``: ``mode`` 'whole' or 'slide' (``crop_size``, ``stride``: height and width in
    pixels), ``flip`` to average with the mirrored image, ``window_batch`` windows and mirror images per forward, those
    of all images of a batch counted (default 8).

    Args:
        **kwargs: As in ``EncoderDecoder``.

    Raises:
        ValueError: An unknown option or mode in ``test_cfg``, a value out of range, or windows that leave gaps.

    Attributes:
        label_tasks (tuple[str, ...]): What it learns from, such as ('normals',), see
            :mod:`diff2in1_mm.tasks`.
    """

    label_tasks: tuple[str, ...]

    def __init__(self, **kwargs) -> None:
        _check_test_cfg(type(self).__name__, kwargs.get('test_cfg'))  # before a diffusion model is loaded
        super().__init__(**kwargs)

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
        found = decode(self, crops, windows_at_once(test_cfg, len(inputs)))
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


def _check_test_cfg(kind: str, test_cfg: Any) -> None:
    """Refuses what ``test_cfg`` of a :class:`DenseEstimator` does not take.

    Args:
        kind (str): Name of the class, for the message.
        test_cfg (dict | None): None: all defaults.

    Raises:
        ValueError: One sentence with the option and its values.
    """
    if test_cfg is None:
        return
    if not isinstance(test_cfg, Mapping):
        raise UserError(f"test_cfg = {test_cfg!r} of {kind} must be a dict, such as dict(mode='whole')")
    for name in test_cfg:
        if name not in _TEST_OPTIONS:
            raise UserError(f'test_cfg of {kind} has no option {name!r}' + did_you_mean(str(name), _TEST_OPTIONS))
    mode = test_cfg.get('mode', 'whole')
    if mode not in _MODES:
        raise UserError(f'test_cfg.mode of {kind} is one of {_MODES}, not {mode!r}; for a mirrored pass add flip=True')
    check_choice('test_cfg.flip', test_cfg.get('flip', False), (False, True))
    check_window_batch(test_cfg)
    if mode == 'slide':
        check_windows(test_cfg)
