"""BCCD: blood cells under the microscope, with boxes."""

from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS

from .subset import draw_subset


@DATASETS.register_module()
class BCCDDataset(CocoDataset):
    """BCCD in COCO's layout: ``images/*.jpg`` and ``annotations/{train,val}.json``.

    Args:
        num_labelled: Number of images drawn from the split; None: all.
        seed: Decides which ones (see :func:`draw_subset`).
        **kwargs: As in ``CocoDataset``.

    Raises:
        ValueError: ``num_labelled`` is more than there are.
    """

    METAINFO = dict(classes=('RBC', 'WBC', 'Platelets'), palette=[(220, 60, 60), (70, 90, 230), (240, 200, 40)])

    def __init__(self, num_labelled: int | None = None, seed: int = 0, **kwargs) -> None:
        self.num_labelled, self.seed = num_labelled, seed
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """All images of the split, or the part that is drawn."""
        data = sorted(super().load_data_list(), key=lambda info: info['img_path'])
        return draw_subset(data, self.num_labelled, self.seed)
