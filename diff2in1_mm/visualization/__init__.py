"""Pictures of labels that MMSegmentation and MMDetection do not draw."""

from mmengine.registry import VISUALIZERS

from ..utils.optional import is_installed, register_placeholders

if is_installed('mmseg'):
    from .scene_visualizer import SceneLocalVisualizer  # noqa: F401
else:
    register_placeholders(VISUALIZERS, 'mmseg', 'SceneLocalVisualizer')
