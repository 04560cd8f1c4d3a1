"""Loading, changing and packing of depth and normals."""

from .loading import LoadDepth, LoadNormals
from .packing import PackSceneInputs
from .preprocessor import SceneDataPreProcessor
from .rotation import RotateScene

__all__ = ['LoadDepth', 'LoadNormals', 'PackSceneInputs', 'RotateScene', 'SceneDataPreProcessor']
