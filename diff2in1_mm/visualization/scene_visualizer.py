"""MMSegmentation's visualizer, for all kinds of labels."""

from collections.abc import Sequence
from typing import Any

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmengine.registry import VISUALIZERS
from mmseg.visualization import SegLocalVisualizer

from ..utils.pictures import depth_picture, label_colours, normals_picture, overlay

# What comes after 'gt_' or 'pred_' in a sample, in the order of rows.
_FIELDS = ('sem_seg', 'part_map', 'depth_map', 'normal_map', 'boundary_map', 'saliency_map')


@VISUALIZERS.register_module()
class SceneLocalVisualizer(SegLocalVisualizer):
    """Draws truth and prediction beside each other, a row for each kind of label: normals as colours, depth in a
    perceptual map (one scale for both), boundaries and saliency in grey, classes and parts over the image. Label maps
    alone are drawn as ``SegLocalVisualizer`` does.

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
        if data_sample is None or not set(_shown(data_sample, wanted)) - {'sem_seg'}:
            super().add_datasample(
                name, image, data_sample, draw_gt, draw_pred, show, wait_time, out_file, step, **kwargs
            )
            return
        drawn = self.picture(image, data_sample, wanted)
        self.set_image(drawn)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(mmcv.rgb2bgr(drawn), out_file)
        else:
            self.add_image(name, drawn, step)

    def picture(self, image: np.ndarray, sample: Any, kinds: Sequence[str] = ('pred',)) -> np.ndarray:
        """A row for each kind of label, truth and prediction beside each other.

        Without a canvas of matplotlib, whose clearing takes longer than all of the drawing.

        Args:
            image (ndarray): uint8 (H, W, 3), RGB.
            sample (SegDataSample): Of this image.
            kinds (Sequence[str]): 'gt', 'pred' or both. Default 'pred' alone.

        Returns:
            ndarray: uint8 RGB; the image where the sample has nothing of these.
        """
        rows: list[np.ndarray] = [
            np.concatenate(
                [self._picture(kind, field, image, sample) for kind in kinds if f'{kind}_{field}' in sample], axis=1
            )
            for field in _shown(sample, kinds)
        ]
        if not rows:
            return image
        width = max(row.shape[1] for row in rows)
        return np.concatenate(
            [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
        )

    def _picture(self, kind: str, field: str, image: np.ndarray, sample: Any) -> np.ndarray:
        data = sample.get(f'{kind}_{field}').data.cpu().numpy()
        if field == 'normal_map':
            return normals_picture(data)
        if field == 'depth_map':
            known = [sample.get(f'{k}_depth_map').data.max() for k in ('gt', 'pred') if f'{k}_depth_map' in sample]
            # the truth may have no valid pixel
            return depth_picture(data, next((float(top) for top in known if top > 0), 0.0))
        if field in ('boundary_map', 'saliency_map'):  # probabilities, or 0 and 1
            shown = np.where(data[0] == 255, 0, data[0]) * 255
            return np.repeat(shown.round().astype(np.uint8)[..., None], 3, 2)
        meta = (self.dataset_meta or {}) if field == 'sem_seg' else {}
        classes = len(meta.get('classes') or ()) or int(np.where(data == 255, 0, data).max(initial=0)) + 1
        return overlay(image, data[0].astype(np.int64), label_colours(classes, meta.get('palette')), self.alpha)


def _shown(sample: Any, kinds: Sequence[str]) -> list[str]:
    """The kinds of label that a sample has of these."""
    return [field for field in _FIELDS if any(f'{kind}_{field}' in sample for kind in kinds)]
