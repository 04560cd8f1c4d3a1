"""Captions that say another weather, hour, season or style than an image shows."""

import re
from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS

from ...utils.errors import UserError
from ...utils.randomness import stable_seed
from .prompts import TextCondition
from .source import Source

__all__ = ['Restyle']

_PLACE = '{caption}'


@MODELS.register_module()
class Restyle(TextCondition):
    """The captions of another condition with attributes changed, drawn for each sample by its seed.

    What such a caption keeps, the scene's things, is what labels are about: a source at another hour keeps its label.

    Args:
        templates (Sequence[str]): One is drawn, and the caption put where it says ``{caption}``, for example
            '{caption} at night, wet street'. Default ('{caption}',).
        swap (Sequence[Sequence[str]]): Groups of words or phrases of which an image has one, for example
            ``[['sunny', 'rainy', 'snowy'], ['summer', 'winter']]``: one that a caption has becomes another of its
            group. Captions without any stay as they are.
        of (dict | None): The condition whose captions are changed. Default ``dict(type='OwnCaption')``.

    Raises:
        ValueError: Nothing would be changed, or a template or group is malformed.
    """

    draws = True

    def __init__(
        self, templates: Sequence[str] = (_PLACE,), swap: Sequence[Sequence[str]] = (), of: dict | None = None
    ) -> None:
        if isinstance(templates, str) or not templates or not all(_PLACE in str(text) for text in templates):
            raise UserError(
                f"Restyle.templates = {templates!r} must be a list of texts with {_PLACE}, such as '{_PLACE} at night'"
            )
        if isinstance(swap, str) or not all(_is_group(group) for group in swap):
            raise UserError(
                f"Restyle.swap = {swap!r} must be a list of groups of at least two words, such as [['sunny', 'rainy']]"
            )
        if not swap and all(text == _PLACE for text in templates):
            raise UserError('Restyle changes nothing: give it templates, or groups of words to swap')
        self.templates, self.swap = list(templates), [list(group) for group in swap]
        self.of: Any = MODELS.build(of or dict(type='OwnCaption'))
        if not isinstance(self.of, TextCondition):
            raise UserError(
                f'Restyle changes captions, and {type(self.of).__name__} gives none: take Captions, OwnCaption, '
                'ComposedCaption or Prompt'
            )
        self.wants_classes = getattr(self.of, 'wants_classes', False)

    def text(self, source: Source) -> str:
        caption = self.of.text(source)
        for number, group in enumerate(self.swap):
            caption = _swapped(caption, group, stable_seed(source.seed, 'swap', number))
        template = self.templates[stable_seed(source.seed, 'template') % len(self.templates)]
        return template.replace(_PLACE, caption)

    def texts(self, source: Source) -> list[str]:
        """Every template, with every word of each group at least once, to see whether they fit a text encoder."""
        caption, found = self.of.text(source), []
        for number in range(max(map(len, self.swap), default=1)):
            changed = caption
            for group in self.swap:
                changed = _swapped(changed, group, number)
            found += [template.replace(_PLACE, changed) for template in self.templates]
        return list(dict.fromkeys(found))


def _is_group(group: Any) -> bool:
    listed = isinstance(group, Sequence) and not isinstance(group, str)
    return listed and all(isinstance(word, str) and word.strip() for word in group) and len(set(group)) > 1


def _swapped(caption: str, group: Sequence[str], number: int) -> str:
    """The caption with the number-th of the group's other words in place of those that it has."""
    words = '|'.join(re.escape(word) for word in sorted(group, key=len, reverse=True))  # 'at night' before 'night'
    pattern = re.compile(rf'(?<!\w)(?:{words})(?!\w)', re.IGNORECASE)
    present = {word.lower() for word in pattern.findall(caption)}
    others = [word for word in group if word.lower() not in present]
    return pattern.sub(lambda _: others[number % len(others)], caption) if present and others else caption
