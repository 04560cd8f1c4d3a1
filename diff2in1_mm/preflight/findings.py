"""Refusals and warnings of the checks of data; each check can be switched off by its name."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from mmengine.dist import broadcast_object_list, get_rank
from mmengine.logging import print_log

from ..utils.errors import UserError, did_you_mean, first_line, some

__all__ = ['CHECKS', 'Findings', 'on_main_process', 'shortened']

# What `preflight = dict(skip=[...])` of a config takes.
CHECKS = (
    'annotation_ids',
    'coco_fields',
    'categories',
    'box_units',
    'dropped_objects',
    'map_sizes',
    'map_values',
    'seen_classes',
    'turned_images',
    'missing_files',
    'damaged_files',
    'image_depth',
)


class Findings:
    """Refuses or warns, unless the check is switched off.

    Args:
        skip (Iterable[str]): Names of :data:`CHECKS` that are switched off. Default ().

    Raises:
        ValueError: A name that is none of them.
    """

    def __init__(self, skip: Iterable[str] = ()) -> None:
        self.skip = {skip} if isinstance(skip, str) else set(skip)
        for name in sorted(map(str, self.skip - set(CHECKS))):
            raise UserError(f'preflight.skip names {name!r}, which is no check' + did_you_mean(name, CHECKS))

    @classmethod
    def of_config(cls, cfg: Any) -> 'Findings':
        """As ``preflight = dict(skip=[...])`` of a config has it."""
        return cls((cfg.get('preflight') or {}).get('skip') or ())

    def refuse(self, check: str, sentence: str, kind: type[UserError] = UserError) -> None:
        """Ends the run with a sentence.

        Raises:
            ValueError: The check is not switched off.
        """
        if check not in self.skip:
            raise kind(f"{sentence} (preflight = dict(skip=['{check}']) switches this check off)")

    def warn(self, check: str, sentence: str) -> None:
        """Tells a sentence and goes on."""
        if check not in self.skip:
            print_log(sentence, 'current', level=logging.WARNING)


def on_main_process(look: Callable[[], Any]) -> Any:
    """Calls a function in the first process only, for all: they get what it gives or raises.

    All processes must call this.
    """
    verdict: list = [None, None]
    if get_rank() == 0:
        try:
            verdict[0] = look()
        except UserError as error:
            verdict[1] = error
        except Exception as error:
            broadcast_object_list([None, UserError(f'the first process failed: {first_line(error)}')])
            raise
    broadcast_object_list(verdict)
    if verdict[1] is not None:
        raise verdict[1]
    return verdict[0]


#: The first eight of some names, and how many there are beyond.
shortened = partial(some, most=8)
