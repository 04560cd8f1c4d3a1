"""Data sets, transforms and the mix of real and synthetic samples."""
from mmengine.registry import DATASETS, MODELS, TRANSFORMS

from ..optional import is_installed, register_placeholders
from .checks import check_folders, check_labels
from .image_folder import ImageFolder
from .kept_latents import KeptLatents
from .rooms import make_rooms, render_room
from .source import distinct_sources, resolve
from .synthetic_mix import SyntheticMixDataset

__all__ = ['SyntheticMixDataset', 'check_folders', 'check_labels', 'distinct_sources', 'resolve']

__all__ += ['ImageFolder', 'KeptLatents', 'make_rooms', 'render_room']

if is_installed('mmseg'):
    from .camvid import CamVidDataset  # noqa: F401
    from .nyu import NYUNormalsDataset  # noqa: F401
    from .transforms import (LoadDepth, LoadNormals, PackSceneInputs, RotateScene,  # noqa: F401
                             SceneDataPreProcessor)
    __all__ += ['CamVidDataset', 'LoadDepth', 'LoadNormals', 'NYUNormalsDataset',
                'PackSceneInputs', 'RotateScene', 'SceneDataPreProcessor']
else:
    register_placeholders(DATASETS, 'mmseg', 'CamVidDataset', 'NYUNormalsDataset')
    register_placeholders(TRANSFORMS, 'mmseg', 'LoadDepth', 'LoadNormals', 'PackSceneInputs',
                          'RotateScene')
    register_placeholders(MODELS, 'mmseg', 'SceneDataPreProcessor')
if is_installed('mmdet'):
    from .bccd import BCCDDataset  # noqa: F401
    __all__ += ['BCCDDataset']
else:
    register_placeholders(DATASETS, 'mmdet', 'BCCDDataset')
