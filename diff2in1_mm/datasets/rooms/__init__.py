"""Rooms: a rendered world of indoor scenes with exact labels."""

from mmengine.registry import DATASETS

from ...utils.optional import is_installed, register_placeholders
from .furniture import CLASSES, THINGS
from .make import make_rooms
from .render import Room, render_room

__all__ = ['CLASSES', 'THINGS', 'Room', 'make_rooms', 'render_room']

if is_installed('mmseg'):
    from .segmentation import RoomsDataset, RoomsMultiTaskDataset  # noqa: F401

    __all__ += ['RoomsDataset', 'RoomsMultiTaskDataset']
else:
    register_placeholders(DATASETS, 'mmseg', 'RoomsDataset', 'RoomsMultiTaskDataset')
if is_installed('mmdet'):
    from .detection import RoomsDetDataset  # noqa: F401

    __all__ += ['RoomsDetDataset']
else:
    register_placeholders(DATASETS, 'mmdet', 'RoomsDetDataset')
