"""Conditions that are one prompt per image: a fixed one, captions, a sentence made of class names."""

import glob
import os.path as osp
from abc import ABC, abstractmethod
from collections.abc import Sequence

from mmengine.registry import MODELS

from ...utils.errors import UserError
from ..condition import Condition
from .caption_files import caption_table
from .clip_texts import TextEmbedder
from .path_table import PathTable
from .source import Source


class TextCondition(ABC):
    """Base of conditions that are one prompt per image."""

    per_image = True
    #: Whether the text is another one for each sample of an image, by :attr:`Source.seed`.
    draws = False

    @abstractmethod
    def text(self, source: Source) -> str:
        """The prompt of one image.

        Args:
            source (Source): The image.

        Returns:
            str: A prompt.
        """

    def texts(self, source: Source) -> list[str]:
        """The prompts that an image may get."""
        return [self.text(source)]

    def embed(self, embedder: TextEmbedder, sources: Sequence[Source] = (Source(),)) -> Condition:
        """The condition of images.

        Args:
            embedder (TextEmbedder): Of the diffusion model.
            sources (Sequence[Source]): n images. A condition that is the same for every image
                answers with one row where none is given.

        Returns:
            Condition: Of n rows, float32 on the CPU.
        """
        return embedder.embed([self.text(source) for source in sources])


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
            with open(osp.join(self.path, found), encoding='utf-8-sig') as file:
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

    wants_classes = True

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
