"""Data sets, transforms and the mix of real and synthetic samples."""

from mmengine.registry import DATASETS, MODELS, TRANSFORMS

from ..utils.optional import is_installed, register_placeholders
from .folders import check_folders
from .image_folder import ImageFolder
from .labelled_folder import LabelledImageFolder
from .rooms.make import make_rooms
from .rooms.render import render_room
from .synthetic_mix import SyntheticMixDataset
from .wrappers import distinct_sources, resolve

__all__ = ['SyntheticMixDataset', 'check_folders', 'distinct_sources', 'resolve']

__all__ += ['ImageFolder', 'LabelledImageFolder', 'make_rooms', 'render_room']

if is_installed('mmseg'):
    from .camvid import CamVidDataset  # noqa: F401
    from .multi_task import NYUDMTDataset, PASCALContextMTDataset  # noqa: F401
    from .nyu import NYUNormalsDataset  # noqa: F401
    from .transforms.loading import (
        LoadBoundaries,
        LoadDepth,
        LoadNormals,
        LoadParts,
        LoadSaliency,
        LoadSceneAnnotations,
    )
    from .transforms.packing import PackSceneInputs
    from .transforms.pasting import PasteThings
    from .transforms.preprocessor import SceneDataPreProcessor
    from .transforms.rotation import RotateScene
    from .transforms.scaling import ScaleScene

    __all__ += [
        'CamVidDataset',
        'LoadBoundaries',
        'LoadDepth',
        'LoadNormals',
        'LoadParts',
        'LoadSaliency',
        'LoadSceneAnnotations',
        'NYUDMTDataset',
        'NYUNormalsDataset',
        'PASCALContextMTDataset',
        'PackSceneInputs',
        'PasteThings',
        'RotateScene',
        'ScaleScene',
        'SceneDataPreProcessor',
    ]
else:
    register_placeholders(
        DATASETS, 'mmseg', 'CamVidDataset', 'NYUDMTDataset', 'NYUNormalsDataset', 'PASCALContextMTDataset'
    )
    register_placeholders(
        TRANSFORMS,
        'mmseg',
        'LoadBoundaries',
        'LoadDepth',
        'LoadNormals',
        'LoadParts',
        'LoadSaliency',
        'LoadSceneAnnotations',
        'PackSceneInputs',
        'PasteThings',
        'RotateScene',
        'ScaleScene',
    )
    register_placeholders(MODELS, 'mmseg', 'SceneDataPreProcessor')
if is_installed('mmdet'):
    from .bccd import BCCDDataset  # noqa: F401

    __all__ += ['BCCDDataset']
else:
    register_placeholders(DATASETS, 'mmdet', 'BCCDDataset')
