"""What the U-Net is told about an image: the conditions that a config can choose.

Each condition turns sources (images of a data set) into embeddings (n, L, C). A condition whose
``per_image`` is False says the same of every image, and serves perception as well as generation.
"""

import glob
import os.path as osp
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS, MODELS
from safetensors.torch import load_file
from torch import Tensor

from ...utils.errors import NotInstalledError, UserError
from .caption_files import caption_table
from .path_table import PathTable
from .text import TextEmbedder


@dataclass(frozen=True)
class Source:
    """An image that is to be conditioned on.

    Attributes:
        img_path: Path of the image file; its end finds its caption, see :class:`PathTable`.
        classes: Names of the classes that its label shows, largest area first.
        caption: What the data set itself says of the image; None where it says nothing.
    """

    img_path: str = ''
    classes: tuple[str, ...] = ()
    caption: str | None = None

    @property
    def stem(self) -> str:
        """str: File name without folder and suffix."""
        return osp.splitext(osp.basename(self.img_path))[0]


class TextCondition(ABC):
    """Base of conditions that are one prompt per image."""

    per_image = True

    @abstractmethod
    def text(self, source: Source) -> str:
        """The prompt of one image.

        Args:
            source (Source): The image.

        Returns:
            str: A prompt.
        """

    def embed(self, embedder: TextEmbedder, sources: Sequence[Source] = (Source(),)) -> Tensor:
        """Embeddings of images.

        Args:
            embedder (TextEmbedder): Of the diffusion model.
            sources (Sequence[Source]): n images. A condition that is the same for every image
                answers with one row where none is given.

        Returns:
            Tensor: Shape (n, L, C), float32 on the CPU.
        """
        return embedder.sequences([self.text(source) for source in sources])


@MODELS.register_module()
class Prompt(TextCondition):
    """The same prompt for every image; by default the empty one, as the released code has.

    Args:
        text (str): The prompt. Default ''.
    """

    per_image = False

    def __init__(self, text: str = '') -> None:
        self.prompt = text

    def text(self, source: Source) -> str:
        return self.prompt


@MODELS.register_module()
class Captions(TextCondition):
    """A caption per image, from a file or a folder.

    Args:
        path (str): A file as :func:`caption_table` takes it, or a folder, searched recursively,
            with ``NAME.txt`` or ``SUB/NAME.txt`` for ``.../SUB/NAME.jpg``. Names may carry folders
            and suffixes, see :class:`PathTable`.
        default (str | None): Caption of images that have none. None makes that an error.

    Raises:
        ValueError: The path is missing, malformed or empty, or an image has no caption, or
            different ones.
    """

    def __init__(self, path: str, default: str | None = None) -> None:
        if not osp.exists(path):
            raise UserError(
                f'the captions {path!r} do not exist: give a JSON file '
                '{"image name": "caption"} or a folder of .txt files'
            )
        self.path, self.default = path, default
        self.is_folder = osp.isdir(path)
        self.table = _text_files(path) if self.is_folder else caption_table(path)

    def text(self, source: Source) -> str:
        found = self.table.find(source.img_path)
        if found is None:
            found = self.default
        elif self.is_folder:
            with open(osp.join(self.path, found), encoding='utf-8') as file:
                found = ' '.join(file.read().split())
        if found is None:
            raise UserError(
                f'{self.path} has no caption for {source.stem!r} ({source.img_path}): '
                'add one, or set `default` to the caption of images that have none'
            )
        return found


def _text_files(folder: str) -> PathTable:
    names = [name[: -len('.txt')] for name in glob.glob('**/*.txt', root_dir=folder, recursive=True)]
    return PathTable(folder, [(name, f'{name}.txt') for name in names])


@MODELS.register_module()
class OwnCaption(TextCondition):
    """The caption that the data set gives with each image, as Rooms does.

    Raises:
        ValueError: It gives none.
    """

    def text(self, source: Source) -> str:
        if source.caption is None:
            raise UserError(
                f'the data set has no `caption` for {source.stem!r}: take the '
                "condition dict(type='Captions', path=...) or dict(type='Prompt')"
            )
        return source.caption


@MODELS.register_module()
class ComposedCaption(TextCondition):
    """A caption made of the classes that an image's label shows.

    "a photo of a street with cars, trees and sky".

    Args:
        scene (str): What the data set shows. Default 'scene'.
        names (dict[str, str]): How classes are called where their own name reads badly, for example
            ``{'car': 'cars', 'sign_symbol': 'traffic signs'}``; an empty string leaves one out.
        max_classes (int): The largest classes that are named, so that prompts fit the text encoder.
            Default 12.
    """

    def __init__(self, scene: str = 'scene', names: dict[str, str] | None = None, max_classes: int = 12) -> None:
        self.scene, self.names, self.max_classes = scene, dict(names or {}), max_classes

    def text(self, source: Source) -> str:
        named = [self.names.get(name, name.replace('_', ' ')) for name in source.classes]
        named = [name for name in named if name][: self.max_classes]
        article = 'an' if self.scene[:1].lower() in 'aeiou' else 'a'
        caption = f'a photo of {article} {self.scene}'
        if not named:
            return caption
        listed = ' and '.join(part for part in (', '.join(named[:-1]), named[-1]) if part)
        return f'{caption} with {listed}'


@MODELS.register_module()
class ClassNames:
    """One token per class: CLIP's 80 prompt templates, averaged (VPD, Zhao et al. 2023, sec. 3.2).

    Args:
        classes (Sequence[str] | None): Class names.
        dataset (str | None): Instead of ``classes``, a data set of MMSeg or MMDet whose metainfo
            has them, for example 'ADE20KDataset'.
        templates (str): A template set of MMSegmentation, 'imagenet' (80) or 'vild'. Default
            'imagenet'.

    Raises:
        ValueError: Neither or both are given, or the data set has no class names.
    """

    per_image = False

    def __init__(
        self, classes: Sequence[str] | None = None, dataset: str | None = None, templates: str = 'imagenet'
    ) -> None:
        if (classes is None) == (dataset is None):
            raise UserError("ClassNames takes either `classes` or `dataset` (for example dataset='ADE20KDataset')")
        self.classes = list(classes if classes is not None else _classes_of(dataset))
        self.templates = _templates(templates)

    def embed(self, embedder: TextEmbedder, sources: Sequence[Source] = (Source(),)) -> Tensor:
        """Embeddings of images.

        Args:
            embedder (TextEmbedder): Of the diffusion model.
            sources (Sequence[Source]): n images.

        Returns:
            Tensor: Shape (n, number of classes, C), the same for all, float32 on the CPU.
        """
        tokens = embedder.averaged([[template.format(name) for template in self.templates] for name in self.classes])
        return tokens.expand(len(sources), -1, -1)


def _classes_of(dataset: str) -> Sequence[str]:
    for scope in (None, 'mmseg', 'mmdet'):
        found = DATASETS.get(dataset if scope is None else f'{scope}.{dataset}')
        if found is not None:
            break
    classes = getattr(found, 'METAINFO', {}).get('classes')
    if not classes:
        raise UserError(
            f'the data set {dataset!r} is unknown or has no class names in its METAINFO: give `classes` instead'
        )
    return classes


def _templates(name: str) -> list[str]:
    try:
        from mmseg.utils import get_predefined_templates
    except ImportError as error:
        raise NotInstalledError(
            'ClassNames takes its prompt templates from MMSegmentation: `pip install mmsegmentation`'
        ) from error
    return list(get_predefined_templates(name))


@MODELS.register_module()
class PrecomputedEmbeddings:
    """Embeddings made elsewhere; no text encoder is loaded.

    Args:
        path (str): ``.safetensors`` or ``.npy``. One array (L, C) or (1, L, C) serves every image;
            a safetensors file with several arrays holds one per image, under its file name, as
            :class:`PathTable` takes it.

    Raises:
        ValueError: The file is missing, of another kind or shape, lacks an image, or has different
            arrays for it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.arrays = _read_embeddings(path)
        self.per_image = len(self.arrays) > 1
        self.names = PathTable(path, [(name, name) for name in self.arrays])

    def embed(self, embedder: TextEmbedder | None = None, sources: Sequence[Source] = (Source(),)) -> Tensor:
        """Embeddings of images.

        Args:
            embedder (TextEmbedder | None): Not used.
            sources (Sequence[Source]): n images.

        Returns:
            Tensor: Shape (n, L, C), float32 on the CPU.
        """
        if not self.per_image:
            return next(iter(self.arrays.values()))[None].expand(len(sources), -1, -1)
        return torch.stack([self._of(source) for source in sources])

    def _of(self, source: Source) -> Tensor:
        name = self.names.find(source.img_path)
        if name is None:
            raise UserError(
                f'{self.path} has no embedding for {source.stem!r} '
                f'({source.img_path}): add it under the name of the image file'
            )
        return self.arrays[name]


def _read_embeddings(path: str) -> dict[str, Tensor]:
    if not osp.isfile(path):
        raise UserError(f'the embeddings {path!r} do not exist: give a .safetensors or .npy file')
    if path.endswith('.npy'):
        arrays = {'': torch.from_numpy(np.load(path, allow_pickle=False))}
    elif path.endswith('.safetensors'):
        arrays = load_file(path)
    else:
        raise UserError(
            f'{path} is a pickle or of an unknown kind where .safetensors or .npy is '
            'expected: save the embeddings with safetensors'
        )
    arrays = {name: array[0] if array.ndim == 3 and len(array) == 1 else array for name, array in arrays.items()}
    wrong = {name: tuple(array.shape) for name, array in arrays.items() if array.ndim != 2}
    if wrong or len({array.shape for array in arrays.values()}) != 1:
        raise UserError(
            f'{path} must hold arrays of one shape (tokens, channels), but has '
            f'{wrong or sorted({tuple(a.shape) for a in arrays.values()})}'
        )
    return {name: array.float() for name, array in arrays.items()}


def check_channels(embeddings: Tensor, diffusion: Any) -> None:
    """Compare embeddings with the context that the U-Net takes.

    Args:
        embeddings (Tensor): Shape (n, L, C).
        diffusion (LatentDiffusion): What they are for.

    Raises:
        ValueError: They have another number of channels.
    """
    if embeddings.shape[-1] != diffusion.context_dim:
        raise UserError(
            f'the condition has {embeddings.shape[-1]} channels, but the U-Net takes '
            f'{diffusion.context_dim}: make the embeddings with the text encoder of '
            f'{diffusion.source!r}'
        )
