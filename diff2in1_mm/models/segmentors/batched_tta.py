"""Test-time augmentation whose views of one size are predicted together."""

from itertools import groupby
from typing import Any

from mmengine.registry import MODELS
from mmseg.models.segmentors import SegTTAModel

__all__ = ['BatchedSegTTAModel']


@MODELS.register_module()
class BatchedSegTTAModel(SegTTAModel):
    """MMSegmentation's ``SegTTAModel``, with the same result, in one pass for an image and its mirror image.

    Views that follow one another in ``tta_pipeline`` and have the same size go through the model as one batch; windows
    of ``mode='slide'`` are still at most ``test_cfg.window_batch`` in a pass, see :func:`batch_windows`.

    Args:
        **kwargs: As in ``SegTTAModel``.
    """

    def test_step(self, data: Any) -> Any:
        """Merged predictions of a batch of augmented images, as :class:`mmengine.model.BaseTTAModel` gives them."""
        views = list(zip(data['inputs'], data['data_samples']))
        predictions: list[Any] = []
        for _, same in groupby(views, key=lambda view: [image.shape for image in view[0]]):
            together = list(same)
            inputs = [image for images, _ in together for image in images]
            samples = [sample for _, own in together for sample in own]
            found = self.module.test_step(dict(inputs=inputs, data_samples=samples))
            count = len(found) // len(together)
            predictions += [found[i : i + count] for i in range(0, len(found), count)]
        return self.merge_preds(list(zip(*predictions)))  # type: ignore[arg-type]
