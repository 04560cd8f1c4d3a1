"""How annotations are written to files, one module per task; new tasks are added here."""

from collections.abc import Sequence

from ...utils.errors import UserError
from .base import AnnotationCodec
from .instances import Instances, InstancesCodec
from .panoptic import PanopticCodec, PanopticMap
from .png import encode_png
from .scenes import DepthArrayCodec, DepthCodec, NormalsCodec
from .segmentation import SegmentationCodec

__all__ = [
    'AnnotationCodec',
    'DepthArrayCodec',
    'DepthCodec',
    'Instances',
    'InstancesCodec',
    'NormalsCodec',
    'PanopticCodec',
    'PanopticMap',
    'SegmentationCodec',
    'annotation_codec',
    'encode_png',
]

#: Task of a labeller -> codec.
_CODECS = {
    'segmentation': SegmentationCodec,
    'instances': InstancesCodec,
    'panoptic': PanopticCodec,
    'normals': NormalsCodec,
    'depth': DepthCodec,
    'depth_npy': DepthArrayCodec,
}


def annotation_codec(task: str, classes: Sequence[str] = ()) -> AnnotationCodec:
    """The codec of a task.

    Raises:
        ValueError: No codec for it.
    """
    if task not in _CODECS:
        raise UserError(
            f'a store cannot hold annotations of the task {task!r}: this version knows {", ".join(sorted(_CODECS))}.'
        )
    return _CODECS[task](classes)
