"""What labellers of whole maps share: batch coordinates, and what of them is padding."""

from typing import Any

from torch import Tensor, nn

from .base import Labeller

__all__ = ['DenseLabeller', 'inside']


class DenseLabeller(Labeller):
    """Labels with one value or vector per pixel, of MMSegmentation's kind of model."""

    @staticmethod
    def encode_decode(model: nn.Module, inputs: Tensor) -> Tensor:
        """The model's maps of whole images.

        Args:
            model (nn.Module): Without wrapper.
            inputs (Tensor): Preprocessed images (N, 3, H, W).

        Returns:
            Tensor: float32 (N, C, H, W).
        """
        # tuples, not torch.Size: MMSeg takes a Size for a window of slide inference
        size = tuple(inputs.shape[-2:])
        metas = [
            dict(img_shape=size, pad_shape=size, ori_shape=size, padding_size=(0, 0, 0, 0), flip=False) for _ in inputs
        ]
        return model.encode_decode(inputs, metas).float()

    def new_samples(self, count: int, size: tuple[int, int]) -> list[Any]:
        from mmseg.structures import SegDataSample

        return [SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size)) for _ in range(count)]


def inside(sample: Any, maps: Tensor) -> tuple[slice, slice]:
    """Rows and columns of maps (..., H, W) that are not padding of the batch."""
    left, right, top, bottom = sample.metainfo.get('padding_size', (0, 0, 0, 0))
    height, width = maps.shape[-2:]
    return slice(top, height - bottom), slice(left, width - right)
