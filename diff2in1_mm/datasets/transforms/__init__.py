"""Loading, changing and packing of several kinds of labels; pasting of labelled things; photometric copies; looks."""

from .loading import LoadBoundaries, LoadDepth, LoadNormals, LoadParts, LoadSaliency, LoadSceneAnnotations
from .looks import AddGrain, RecolouredCopies
from .packing import PackSceneInputs
from .pasting import PasteThings
from .photometric import PhotometricCopies
from .preprocessor import SceneDataPreProcessor
from .rotation import RotateScene
from .scaling import ScaleScene

__all__ = [
    'AddGrain',
    'LoadBoundaries',
    'LoadDepth',
    'LoadNormals',
    'LoadParts',
    'LoadSaliency',
    'LoadSceneAnnotations',
    'PackSceneInputs',
    'PasteThings',
    'PhotometricCopies',
    'RecolouredCopies',
    'RotateScene',
    'ScaleScene',
    'SceneDataPreProcessor',
]
