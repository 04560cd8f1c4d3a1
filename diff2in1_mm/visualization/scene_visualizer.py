"""MMSegmentation's visualizer, for normals and depth."""

from typing import Any

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmengine.registry import VISUALIZERS
from mmseg.visualization import SegLocalVisualizer

from ..utils.pictures import depth_picture, normals_picture


@VISUALIZERS.register_module()
class SceneLocalVisualizer(SegLocalVisualizer):
    """Draws true and predicted normals (as colours) or depth (in a perceptual map, one scale for
    both) beside each other; label maps are drawn as ``SegLocalVisualizer`` does.

    Args:
        **kwargs: As in ``SegLocalVisualizer``.
    """

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Any | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
        **kwargs: Any,
    ) -> None:
        """Draw and write one sample; arguments as in ``SegLocalVisualizer``."""
        wanted = [kind for kind, draw in (('gt', draw_gt), ('pred', draw_pred)) if draw]
        pictures = [self._picture(kind, data_sample) for kind in wanted]
        parts = [picture for picture in pictures if picture is not None]
        if not parts:
            super().add_datasample(
                name, image, data_sample, draw_gt, draw_pred, show, wait_time, out_file, step, **kwargs
            )
            return
        drawn: np.ndarray = np.concatenate(parts, axis=1)
        self.set_image(drawn)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(mmcv.rgb2bgr(drawn), out_file)
        else:
            self.add_image(name, drawn, step)

    @staticmethod
    def _picture(kind: str, sample: Any) -> np.ndarray | None:
        if sample is None:
            return None
        if f'{kind}_normal_map' in sample:
            return normals_picture(sample.get(f'{kind}_normal_map').data.cpu().numpy())
        if f'{kind}_depth_map' in sample:
            known = [sample.get(f'{k}_depth_map').data.max() for k in ('gt', 'pred') if f'{k}_depth_map' in sample]
            depth = sample.get(f'{kind}_depth_map').data.cpu().numpy()
            # the truth may have no valid pixel
            return depth_picture(depth, next((float(top) for top in known if top > 0), 0.0))
        return None
