"""Loading, changing and packing of depth and normals; pasting of labelled things."""

from .loading import LoadDepth, LoadNormals
from .packing import PackSceneInputs
from .pasting import PasteThings
from .preprocessor import SceneDataPreProcessor
from .rotation import RotateScene

__all__ = ['LoadDepth', 'LoadNormals', 'PackSceneInputs', 'PasteThings', 'RotateScene', 'SceneDataPreProcessor']
