"""NYUD-MT and PASCAL-Context with several kinds of labels, in the folders that ATRC and InvPT share."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from ..utils.errors import MissingFileError, UserError, some
from .subset import draw_subset

__all__ = ['NYUDMTDataset', 'PASCALContextMTDataset']


class _FoldersByTask(BaseSegDataset):
    """A list of names, and a folder for each kind of label.

    An image that lacks the file of one kind of label has None in place of its path: its loader lets it pass, and the
    task's loss and metric leave it out. How many there are is logged once.

    Attributes:
        missing (dict[str, list[str]]): Key of the annotation entry -> names of the images without such a file.
    """

    #: The list of a split, and the image, below ``data_root``.
    _list, _image = '', ''
    #: Key of an annotation entry -> files below ``data_root``, of which the first that is there counts.
    _labels: dict[str, tuple[str, ...]]
    #: What else an entry says of how its files are read.
    _reading: dict[str, Any]
    _where = ''

    def __init__(self, split: str, num_labelled: int | None, seed: int, data_root: str, **kwargs: Any) -> None:
        self.split, self.num_labelled, self.seed = split, num_labelled, seed
        super().__init__(data_root=data_root, **kwargs)

    @classmethod
    def prepare(cls, cfg: dict) -> None:
        """Names what is missing before anything is built."""
        cls._names(cfg.get('data_root', cls._where), cfg.get('split', 'train'))

    @classmethod
    def _names(cls, root: str, split: str) -> list[str]:
        path = osp.join(root, cls._list.format(split))
        if not osp.isfile(path):
            raise MissingFileError(
                f'the list of images {path} does not exist: put the data set there in the layout of ATRC and InvPT '
                '(docs/multitask.md), or set `data_root` or `split`'
            )
        with open(path, encoding='utf-8-sig') as file:
            names = file.read().split()
        if not names:
            raise UserError(f'the list of images {path} is empty: write the name of an image into each line')
        return names

    def load_data_list(self) -> list[dict]:
        """Entries with ``img_path`` and a path, or None, for each kind of label."""
        data: list[dict] = []
        self.missing: dict[str, list[str]] = {}
        for name in self._names(self.data_root, self.split):
            image = osp.join(self.data_root, self._image.format(name))
            if not osp.isfile(image):
                raise MissingFileError(
                    f'{name} of the split {self.split!r} has no image {image}: complete the folder, or take the name '
                    'out of the list'
                )
            data.append(dict(self._entry(name), img_path=image, seg_fields=[], **self._meta()))
        for key, names in self.missing.items():
            print_log(
                f'{len(names)} of {len(data)} images have no {key.removesuffix("_path")} ({some(names)}): they do not '
                'count for its task.',
                'current',
                level=30,
            )
        return draw_subset(data, self.num_labelled, self.seed)

    def _entry(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = dict(self._reading)
        for key, places in self._labels.items():
            paths = [osp.join(self.data_root, place.format(name)) for place in places]
            entry[key] = next((path for path in paths if osp.isfile(path)), None)
            if entry[key] is None:
                self.missing.setdefault(key, []).append(name)
        return entry

    def _meta(self) -> dict[str, Any]:
        return dict(label_map=self.label_map, reduce_zero_label=self.reduce_zero_label)


@DATASETS.register_module()
class NYUDMTDataset(_FoldersByTask):
    """NYUD-MT: 795 training and 654 test images of NYUv2 (Silberman et al., ECCV 2012) with 40 classes,
    depth, normals and boundaries.

    ``data_root`` has ``gt_sets/{train,val}.txt``, ``images/NAME.png``, ``segmentation/NAME.png`` (0 does not
    count, 1 to 40), ``depth/NAME.npy`` (metres), ``normals/NAME.png`` (8 bits, -1..1 as 0..255) and
    ``edge/NAME.png`` (0 or 255).

    Args:
        split (str): 'train' or 'val', the list. Default 'train'.
        num_labelled (int | None): Number of images drawn from the split; None: all.
        seed (int): Decides which ones (see :func:`draw_subset`).
        data_root (str): Default 'data/NYUDv2'.
        **kwargs: As in ``BaseSegDataset``.

    Raises:
        FileNotFoundError: The list or an image is missing.
        ValueError: The list is empty, or ``num_labelled`` is more than there are.
    """

    METAINFO: dict = dict(
        classes=(
            'wall', 'floor', 'cabinet', 'bed', 'chair', 'sofa', 'table', 'door', 'window', 'bookshelf', 'picture',
            'counter', 'blinds', 'desk', 'shelves', 'curtain', 'dresser', 'pillow', 'mirror', 'floor mat', 'clothes',
            'ceiling', 'books', 'refrigerator', 'television', 'paper', 'towel', 'shower curtain', 'box', 'whiteboard',
            'person', 'night stand', 'toilet', 'sink', 'lamp', 'bathtub', 'bag', 'other structure', 'other furniture',
            'other prop',
        )
    )  # fmt: skip
    _where, _list, _image = 'data/NYUDv2', 'gt_sets/{}.txt', 'images/{}.png'
    _labels = dict(
        seg_map_path=('segmentation/{}.png',),
        depth_map_path=('depth/{}.npy',),
        normal_map_path=('normals/{}.png',),
        boundary_map_path=('edge/{}.png',),
    )
    _reading = dict(depth_scale=1.0)

    def __init__(
        self,
        split: str = 'train',
        num_labelled: int | None = None,
        seed: int = 0,
        data_root: str = _where,
        **kwargs: Any,
    ) -> None:
        super().__init__(split, num_labelled, seed, data_root, reduce_zero_label=True, **kwargs)


@DATASETS.register_module()
class PASCALContextMTDataset(_FoldersByTask):
    """PASCAL-Context for several tasks (Maninis et al., ASTMT, CVPR 2019): 4,998 training and 5,105 test images with 21
    classes, parts of persons, boundaries, and normals and saliency that other networks predicted.

    ``data_root`` has ``ImageSets/Context/{train,val}.txt``, ``JPEGImages/NAME.jpg``,
    ``semseg/VOC12/NAME.png`` or ``semseg/pascal-context/NAME.png``, ``human_parts/NAME.mat``,
    ``sal_distill/NAME.png``, ``normals_distill/NAME.png`` and ``pascal-context/trainval/NAME.mat`` (its
    ``LabelMap``, whose edges are the boundaries).

    Args:
        split (str): 'train' or 'val', the list. Default 'train'.
        normals_classes (Sequence[int] | None): Numbers of PASCAL-Context's 459 classes on which normals count: those
            that NYUv2 has too, in the papers, whose code lists them. Default None: on all.
        num_labelled (int | None): Number of images drawn from the split; None: all.
        seed (int): Decides which ones (see :func:`draw_subset`).
        data_root (str): Default 'data/PASCAL_MT'.
        **kwargs: As in ``BaseSegDataset``.

    Raises:
        FileNotFoundError: The list or an image is missing.
        ValueError: The list is empty, or ``num_labelled`` is more than there are.
    """

    METAINFO: dict = dict(
        classes=(
            'background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow',
            'dining table', 'dog', 'horse', 'motorbike', 'person', 'potted plant', 'sheep', 'sofa', 'train',
            'tv monitor',
        )
    )  # fmt: skip
    _where, _list, _image = 'data/PASCAL_MT', 'ImageSets/Context/{}.txt', 'JPEGImages/{}.jpg'
    _labels = dict(
        seg_map_path=('semseg/VOC12/{}.png', 'semseg/pascal-context/{}.png'),
        part_map_path=('human_parts/{}.mat',),
        saliency_map_path=('sal_distill/{}.png',),
        normal_map_path=('normals_distill/{}.png',),
        boundary_map_path=('pascal-context/trainval/{}.mat',),
    )
    _reading: dict = {}

    def __init__(
        self,
        split: str = 'train',
        normals_classes: Sequence[int] | None = None,
        num_labelled: int | None = None,
        seed: int = 0,
        data_root: str = _where,
        **kwargs: Any,
    ) -> None:
        self.normals_classes = normals_classes
        super().__init__(split, num_labelled, seed, data_root, **kwargs)

    def _entry(self, name: str) -> dict[str, Any]:
        entry = super()._entry(name)
        if self.normals_classes is not None and entry['boundary_map_path'] is not None:
            entry.update(normals_classes=list(self.normals_classes), normals_label_map_path=entry['boundary_map_path'])
        return entry
