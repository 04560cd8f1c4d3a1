"""Labels for generated images, from the model that creates."""
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from .labelling import SegmentationLabeller, labeller_for


class Label(NamedTuple):
    """What is stored beside a generated image.

    Attributes:
        annotation: Raw file values, uint8 (H, W).
        quality: ``confidence`` (mean over the pixels) and ``ignored`` (share of pixels).
    """
    annotation: np.ndarray
    quality: Dict[str, float]


class BatchLabels:
    """Labels batches of generated images.

    Args:
        model (nn.Module): An MMSeg segmentor, with the values that are to label, in eval mode.
        label_from (str): 'fresh' or 'last_step', see :class:`CreationSettings`.
        confidence (float | None): See :class:`CreationSettings`.

    Raises:
        TypeError: No labeller knows this kind of model.
        ValueError: The store cannot hold this model's labels yet, or the backbone has no features
            of the last denoising step.
    """

    task = 'segmentation'

    def __init__(self, model: nn.Module, label_from: str = 'fresh',
                 confidence: Optional[float] = None) -> None:
        self.model = model
        self.labeller = labeller_for(model, confidence)
        if not isinstance(self.labeller, SegmentationLabeller):
            raise ValueError('samples are created for segmentation so far, and '
                             f'{type(model).__name__} needs other annotations: set creation=None')
        self.backbone = model.backbone if hasattr(model.backbone, 'from_taps') else None
        self.last_step = label_from == 'last_step'
        if self.last_step and not getattr(self.backbone, 'frozen', False):
            raise ValueError("creation.label_from='last_step' takes the features of the denoising "
                             f'pass, which {type(model.backbone).__name__} does not use: set it to '
                             "'fresh'")

    @property
    def tap_names(self) -> Sequence[str]:
        """Sequence[str]: Inner maps of the U-Net that :meth:`__call__` needs of the last pass."""
        return self.backbone.tap_names if self.last_step else ()

    def check_classes(self, classes: Optional[Sequence[str]]) -> None:
        """Compare the head with the data set.

        Raises:
            ValueError: They have different numbers of classes.
        """
        head = self.model.decode_head
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        if classes is None or head.num_classes != len(classes):
            raise ValueError(f'the head predicts {head.num_classes} classes, but the data set has '
                             f'{len(classes or ())}: set `num_classes` of the head, or `metainfo` '
                             'of the data set')

    @torch.no_grad()
    def __call__(self, pixels: Tensor, taps: Mapping[str, Tensor],
                 entries: Sequence[Mapping[str, Any]]) -> List[Label]:
        """Label a batch.

        Args:
            pixels (Tensor): uint8 RGB, shape (N, 3, H, W), as it will be read back.
            taps (Mapping[str, Tensor]): Maps of the last denoising pass, for 'last_step'.
            entries (Sequence[Mapping]): Annotation entries of the source images: how the data set
                reads label values.

        Returns:
            list[Label]: One per image.
        """
        from mmseg.structures import SegDataSample
        size = tuple(pixels.shape[-2:])
        samples = [SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
                   for _ in entries]
        if self.last_step:
            # Only the size of the input counts while features are served.
            inputs = self.backbone.from_unit_range(pixels.float() / 127.5 - 1)
            with self.backbone.serve(self.backbone.from_taps(taps, size)):
                predictions = self.labeller.predict(self.model, inputs, samples)
        else:
            inputs, samples = self._preprocess(pixels, samples)
            predictions = self.labeller.predict(self.model, inputs, samples)
        self.labeller.assign(samples, predictions)
        return self._to_files(samples, predictions, size, entries)

    def _preprocess(self, pixels: Tensor, samples: List[Any]) -> Tuple[Tensor, List[Any]]:
        """As test data: normalised, and padded where the model's ``test_cfg`` says so."""
        preprocessor = self.model.data_preprocessor
        if not self._wants_rgb(preprocessor):
            pixels = pixels.flip(1)
        data = preprocessor(dict(inputs=list(pixels), data_samples=samples), False)
        return data['inputs'], data['data_samples']

    def _wants_rgb(self, preprocessor: nn.Module) -> bool:
        """Whether the data preprocessor is fed RGB; MMCV's pipelines load BGR."""
        if self.backbone is None:
            return False
        # The diffusion model tells what comes out: RGB unless `input_bgr`.
        converts = any(getattr(preprocessor, name, False)
                       for name in ('channel_conversion', '_channel_conversion'))
        return converts == self.backbone.input_bgr

    def _to_files(self, samples: Sequence[Any], predictions: Sequence[Any], size: Tuple[int, int],
                  entries: Sequence[Mapping[str, Any]]) -> List[Label]:
        height, width = size  # padding is at the bottom and right
        labels = torch.stack([s.gt_sem_seg.data[0, :height, :width] for s in samples])
        sure = torch.stack([p.confidence[:height, :width] for p in predictions]).mean((1, 2))
        ignored = (labels == self.labeller.ignore_index).float().mean((1, 2))
        figures = torch.stack([sure, ignored], 1).tolist()
        # int16 holds every class and common ignore indices, in a quarter of the bytes.
        return [Label(self.labeller.to_raw(label, entry), dict(confidence=c, ignored=i))
                for label, entry, (c, i) in zip(labels.to(torch.int16).cpu(), entries, figures)]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode; every module's own training flag comes back afterwards."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag
