"""A transform for configs of scripts: ``custom_imports = dict(imports=['tests.absent_labels'])``."""

from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module(force=True)
class WithoutDepth(BaseTransform):
    """Every second image has no depth."""

    def transform(self, results):
        if results['img_path'][-5] in '13579':
            results['depth_map_path'] = None
        return results
