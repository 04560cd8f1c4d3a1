"""Loading, changing and packing of depth and normals; pasting of labelled things; photometric copies."""

from .loading import LoadDepth, LoadNormals
from .packing import PackSceneInputs
from .pasting import PasteThings
from .photometric import PhotometricCopies
from .preprocessor import SceneDataPreProcessor
from .rotation import RotateScene

__all__ = [
    'LoadDepth',
    'LoadNormals',
    'PackSceneInputs',
    'PasteThings',
    'PhotometricCopies',
    'RotateScene',
    'SceneDataPreProcessor',
]
