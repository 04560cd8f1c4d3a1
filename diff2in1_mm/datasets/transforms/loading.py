"""Depth, normals, parts, boundaries and saliency from files."""

import io

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.fileio import get
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import LoadAnnotations

from ...tasks.normals import decode_normals
from ...tasks.png import decode_png
from ...utils.errors import UnusableFileError, UserError
from ..matlab_maps import changes, human_parts, label_map
from .rotation import flip_done

__all__ = ['LoadBoundaries', 'LoadDepth', 'LoadNormals', 'LoadParts', 'LoadSaliency', 'LoadSceneAnnotations']


def read_picture(path: str, backend_args: dict | None = None, kind: str = '') -> np.ndarray:
    """A picture file as it is (any depth and channels), colours as RGB; ``kind`` is of what, for the sentence.

    Raises:
        OSError: It is missing or no picture.
    """
    picture = decode_png(get(path, backend_args))
    if picture is None:
        raise UnusableFileError(f'{path} cannot be read as a picture' + (f' of {kind}' if kind else ''))
    return picture


def _without_annotation(results: dict, key: str) -> bool:
    """Whether this is a single image, as MMSegmentation's inferencers hand it to a test pipeline, or one of which
    a data set of several kinds of labels says that it has none of this kind: None in place of a path.

    What comes from a data set has a ``sample_idx``, and must name its file.
    """
    if key in results:
        return results[key] is None
    if 'sample_idx' in results:
        raise UserError(
            f'sample {results["sample_idx"]} ({results.get("img_path", "without img_path")}) of the data set has no '
            f'{key!r}: let its load_data_list give one, as NYUNormalsDataset does, or leave the loading transform out'
        )
    return True


def _check_size(path: str, shape, results: dict, kind: str) -> None:
    wanted = tuple(results.get('ori_shape', shape))[:2]
    if tuple(shape) != wanted:
        raise UserError(
            f'{path} ({kind}) is {shape[1]} x {shape[0]}, but its image {wanted[1]} x {wanted[0]}: they must have one '
            'size'
        )


@TRANSFORMS.register_module()
class LoadNormals(BaseTransform):
    """Reads ``normal_map_path``, an RGB picture whose values 0..255 (or 0..65535) are -1..1.

    ``gt_normal_map`` becomes float32 (H, W, 3), unit vectors in the camera's frame (x right, y up,
    z towards the viewer), and the zero vector where all three channels are 0 in the file or where
    the vector is too short to have a direction. Add it after ``LoadImageFromFile``; flips and
    resizes of MMSegmentation follow as usual, ``PackSceneInputs`` sees to the vectors.

    Args:
        flip_axes (str): Axes that point the other way in the files, such as 'yz'. Default ''.
        backend_args (dict | None): As in MMCV's loaders.

    Raises:
        ValueError: Not three channels, not 8 or 16 bits, or not as large as the image.
        OSError: The file is missing or no picture.
    """

    def __init__(self, flip_axes: str = '', backend_args: dict | None = None) -> None:
        if not set(flip_axes) <= set('xyz'):
            raise UserError(f'flip_axes names axes of x, y and z, not {flip_axes!r}')
        self.signs = np.array([-1 if axis in flip_axes else 1 for axis in 'xyz'], np.float32)
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Adds ``gt_normal_map``; an image that is in no data set passes as it is."""
        if _without_annotation(results, 'normal_map_path'):
            return results
        path = results['normal_map_path']
        picture = read_picture(path, self.backend_args, 'normals')
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype not in (np.uint8, np.uint16):
            raise UserError(
                f'{path} is {picture.dtype} of shape {picture.shape}: a picture of '
                'normals has three channels of 8 or 16 bits'
            )
        _check_size(path, picture.shape[:2], results, 'normals')
        of_store = results.get('normals_in_camera_frame')
        if results.get('normals_classes') is not None and not of_store:  # PASCAL-Context's count on some alone
            labels_path = results['normals_label_map_path']
            labels = label_map(io.BytesIO(get(labels_path, self.backend_args)), labels_path)
            _check_size(labels_path, labels.shape, results, 'classes')
            picture = np.where(np.isin(labels, results['normals_classes'])[..., None], picture, 0).astype(picture.dtype)
        # a store's files are in our frame, whatever the data set's are in
        signs = 1 if of_store else self.signs
        results['gt_normal_map'] = decode_normals(picture) * signs
        # a flip before (of the image alone, at test time) did not mirror what is loaded now
        results['flipped_vectors'] = flip_done(results)
        results.setdefault('seg_fields', []).append('gt_normal_map')
        return results


@TRANSFORMS.register_module()
class LoadDepth(BaseTransform):
    """Reads ``depth_map_path``: a 16-bit picture or ``.npy``, one channel.

    ``gt_depth_map`` becomes float32 (H, W) in metres, and 0 where the file has 0, no number, or
    depth outside ``[min_depth, max_depth]``: not valid. Unlike MMSegmentation's
    ``LoadDepthAnnotation`` it can be told by an entry's ``depth_scale``, as those of a store have.

    Args:
        scale (float): Metres per unit of the file. Default 0.001: millimetres.
        min_depth (float): Metres. Default 0.001.
        max_depth (float | None): Metres; None: no limit.
        backend_args (dict | None): As in MMCV's loaders.

    Raises:
        ValueError: More than one channel, or not as large as the image.
        OSError: The file is missing or cannot be read.
    """

    def __init__(
        self,
        scale: float = 0.001,
        min_depth: float = 0.001,
        max_depth: float | None = None,
        backend_args: dict | None = None,
    ) -> None:
        self.scale, self.min_depth, self.max_depth = scale, min_depth, max_depth
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Adds ``gt_depth_map``; an image that is in no data set passes as it is."""
        if _without_annotation(results, 'depth_map_path'):
            return results
        path = results['depth_map_path']
        if path.endswith('.npy'):
            try:
                values = np.load(io.BytesIO(get(path, self.backend_args)), allow_pickle=False)
            except (EOFError, ValueError) as error:
                raise UnusableFileError(f'{path} cannot be read as an array') from error
        else:
            values = read_picture(path, self.backend_args, 'depth')
        if values.ndim != 2:
            raise UserError(f'{path} has the shape {values.shape}: depth has one channel')
        _check_size(path, values.shape, results, 'depth')
        depth = values.astype(np.float32) * results.get('depth_scale', self.scale)
        top = np.inf if self.max_depth is None else self.max_depth
        valid = np.isfinite(depth) & (depth >= self.min_depth) & (depth <= top)
        results['gt_depth_map'] = np.where(valid, depth, 0).astype(np.float32)
        results['largest_depth'] = float(results['gt_depth_map'].max(initial=0))
        results.setdefault('seg_fields', []).append('gt_depth_map')
        return results


@TRANSFORMS.register_module()
class LoadSceneAnnotations(LoadAnnotations):
    """MMSegmentation's ``LoadAnnotations`` for data sets some of whose samples have no label map, but other labels.

    Args:
        **kwargs: As in the original.
    """

    def transform(self, results: dict) -> dict:
        """Adds ``gt_seg_map``; an image without one passes as it is."""
        return results if _without_annotation(results, 'seg_map_path') else super().transform(results)


class _LoadIndices(BaseTransform):
    """Reads a map of one channel as class indices."""

    #: As in an annotation entry, ``NAME_map_path``, and in results, ``gt_NAME_map``.
    _name = ''

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Adds the map, uint8 (H, W); an image without one passes as it is."""
        key = f'{self._name}_map_path'
        if _without_annotation(results, key):
            return results
        path = results[key]
        values = self._read(path, results)
        if values.ndim != 2 or values.dtype != np.uint8:
            raise UserError(f'{path} is {values.dtype} of shape {values.shape}: a map has one channel of 8 bits')
        _check_size(path, values.shape, results, self._name)
        field = f'gt_{self._name}_map'
        # a store's files hold indices, whatever the data set's hold
        results[field] = values if results.get(f'{self._name}_map_indexed') else self._indices(values, results)
        results.setdefault('seg_fields', []).append(field)
        return results

    def _read(self, path: str, results: dict) -> np.ndarray:
        if not path.endswith('.mat'):
            return read_picture(path, self.backend_args, self._name)
        return self._read_mat(io.BytesIO(get(path, self.backend_args)), path)

    def _read_mat(self, file: io.BytesIO, path: str) -> np.ndarray:
        raise UserError(f'{path} is a MATLAB file, which {type(self).__name__} does not read: give pictures')

    def _indices(self, values: np.ndarray, results: dict) -> np.ndarray:
        return values


@TRANSFORMS.register_module()
class LoadParts(_LoadIndices):
    """Reads ``part_map_path``: indices of parts, 0 for none, 255 for what does not count; or a ``.mat`` of PASCAL-Part
    (Chen et al., CVPR 2014), of which :func:`human_parts` makes the parts of persons.

    ``gt_part_map`` becomes uint8 (H, W).

    Args:
        backend_args (dict | None): As in MMCV's loaders.

    Raises:
        ValueError: More than one channel, not 8 bits, or not as large as the image.
        OSError: The file is missing or cannot be read.
    """

    _name = 'part'

    def _read_mat(self, file: io.BytesIO, path: str) -> np.ndarray:
        return human_parts(file, path)


class _LoadBinary(_LoadIndices):
    def _indices(self, values: np.ndarray, results: dict) -> np.ndarray:
        # maps of 0 and 1 are common, too, and would be all dark
        least = results.get(f'{self._name}_from', 1 if values.max(initial=0) == 1 else 128)
        return (values >= least).astype(np.uint8)


@TRANSFORMS.register_module()
class LoadBoundaries(_LoadBinary):
    """Reads ``boundary_map_path``: a picture that is bright (128 and above, or ``boundary_from`` of the entry; 1
    where it holds 0 and 1 alone) on boundaries; or a ``.mat`` of PASCAL-Context, whose boundaries are where its
    ``LabelMap`` changes.

    ``gt_boundary_map`` becomes uint8 (H, W): 1, 0, and 255 where a store's label does not count.

    Args:
        backend_args (dict | None): As in MMCV's loaders.

    Raises:
        ValueError, OSError: As :class:`LoadParts`.
    """

    _name = 'boundary'

    def _read_mat(self, file: io.BytesIO, path: str) -> np.ndarray:
        return np.where(changes(label_map(file, path)), np.uint8(255), np.uint8(0))


@TRANSFORMS.register_module()
class LoadSaliency(_LoadBinary):
    """Reads ``saliency_map_path``: a picture that is bright (128 and above, or ``saliency_from`` of the entry; 1
    where it holds 0 and 1 alone) where something is salient.

    ``gt_saliency_map`` becomes uint8 (H, W): 1, 0, and 255 where a store's label does not count.

    Args:
        backend_args (dict | None): As in MMCV's loaders.

    Raises:
        ValueError, OSError: As :class:`LoadParts`.
    """

    _name = 'saliency'
