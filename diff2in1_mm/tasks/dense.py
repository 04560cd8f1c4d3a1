"""What labellers of whole maps share: batch coordinates, what of them is padding, the source images' maps."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor

from ..utils.errors import UserError
from ..utils.image_values import size_of
from .base import Label, Labeller

__all__ = [
    'DenseLabeller',
    'MapLabeller',
    'ReadsSources',
    'first_transform',
    'inside',
    'inside_mask',
    'read_source',
    'scene_loader',
    'source_scene',
]


class DenseLabeller(Labeller):
    """Labels with one value or vector per pixel, of MMSegmentation's kind of model."""

    @staticmethod
    def encode_decode(model: BaseModel, inputs: Tensor) -> Tensor:
        """The model's maps of whole images.

        Args:
            model (BaseModel): Without wrapper.
            inputs (Tensor): Preprocessed images (N, 3, H, W).

        Returns:
            Tensor: float32 (N, C, H, W).
        """
        size = size_of(inputs)
        metas = [
            dict(img_shape=size, pad_shape=size, ori_shape=size, padding_size=(0, 0, 0, 0), flip=False) for _ in inputs
        ]
        return model.encode_decode(inputs, metas).float()

    def new_samples(self, count: int, size: tuple[int, int]) -> list[Any]:
        from mmseg.structures import SegDataSample

        return [SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size)) for _ in range(count)]


class ReadsSources(Labeller):
    """What labellers share that let a transform of the data set's pipeline read the source images' own maps."""

    # What reads such maps of a data set, and the field that it adds.
    _loader, _field = '', ''
    _read: Callable[[dict], dict]

    def read_sources(self, transforms: Sequence[Any]) -> None:
        """Let :meth:`source_labels` read as a data set with this pipeline does.

        Raises:
            ValueError: It loads no such maps, or otherwise than one that was told before.
        """
        found = scene_loader(transforms, self._loader)
        first = getattr(self, '_read', found)
        if (type(found), repr(vars(found))) != (type(first), repr(vars(first))):
            raise UserError(
                f"creation.label_from='source' reads the maps of all joined data sets by one {self._loader}, but their "
                f'pipelines have {vars(first)} and {vars(found)}: convert the files of one, so that both read alike, '
                "or set label_from to 'fresh'"
            )
        self._read = found


class MapLabeller(ReadsSources, DenseLabeller):
    """What labellers of continuous maps share."""

    _instead = ''

    def __init__(self, model: BaseModel, confidence: float | None = None) -> None:
        self.confidence = None
        if confidence is not None:
            raise UserError(f'{type(self).__name__} knows no probability: leave confidence out{self._instead}')

    @torch.no_grad()
    def predict(self, model: BaseModel, inputs: Tensor, data_samples: Sequence) -> list[Any]:
        """Predict whole images in batch coordinates; see :meth:`Labeller.predict`."""
        return list(self.encode_decode(model, inputs))

    def count_classes(self, model: BaseModel) -> int | None:
        """None: there are no classes."""
        return None

    def source_labels(self, size: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> list[Label | None]:
        """The source images' own maps, for pictures of ``size`` (height, width); None for an image without."""
        return [source_scene(entry, size, self._read, self._field) for entry in entries]


def inside(sample: Any, maps: Tensor) -> tuple[slice, slice]:
    """Rows and columns of maps (..., H, W) that are not padding of the batch."""
    left, right, top, bottom = sample.metainfo.get('padding_size', (0, 0, 0, 0))
    height, width = maps.shape[-2:]
    return slice(top, height - bottom), slice(left, width - right)


def inside_mask(sample: Any, maps: Tensor) -> Tensor:
    """1 inside the image and 0 in the padding, (H, W)."""
    mask = torch.zeros_like(maps[0])
    mask[inside(sample, maps)] = 1
    return mask


def scene_loader(transforms: Sequence[Any], name: str) -> Callable[[dict], dict]:
    """What reads such maps of a data set: only its pipeline knows unit, frame and values.

    Args:
        transforms (Sequence): Of the data set's pipeline.
        name (str): Such as 'LoadDepth'.

    Raises:
        ValueError: There is none among them.
    """
    found = first_transform(transforms, name)
    if found is None:
        raise UserError(
            "creation.label_from='source' reads the labels of the source images as the pipeline of the data set does, "
            f"but that has no {name}: add it, or set it to 'fresh'"
        )
    return found


def read_source(entry: Mapping[str, Any], loader: Callable[[dict], dict], field: str) -> np.ndarray | None:
    """What a loader makes of an annotation entry, (H, W) or (H, W, 3); None where the image has no such map."""
    # a loader writes into what it is given
    return loader(dict(copy.deepcopy(dict(entry)), seg_fields=[])).get(field)


def source_scene(
    entry: Mapping[str, Any], size: tuple[int, int], loader: Callable[[dict], dict], field: str
) -> Label | None:
    """What a data set says of an image's pixels, for a picture of another size that shows the same.

    Args:
        entry (Mapping): Annotation entry, as ``loader`` takes it.
        size (tuple[int, int]): Height and width of the generated picture.
        loader (Callable): Of :func:`scene_loader`.
        field (str): What it adds, 'gt_depth_map' or 'gt_normal_map'.

    Returns:
        Label | None: Float32 (H, W) metres or (H, W, 3) unit vectors in the camera's frame, of the nearest
            pixel; 0 where the data set has no label. None for an image without such a map.
    """
    maps = read_source(entry, loader, field)
    if maps is None:
        return None
    maps = cv2.resize(maps.astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST)
    invalid = maps == 0 if maps.ndim == 2 else (maps == 0).all(2)
    return Label(maps, dict(ignored=float(invalid.mean())))


def first_transform(transforms: Sequence[Any], name: str) -> Any:
    """The first transform of a class of this name, or of one made from it; None without one."""
    return next((t for t in transforms if name in (k.__name__ for k in type(t).__mro__)), None)
