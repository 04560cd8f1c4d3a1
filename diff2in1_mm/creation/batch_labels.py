"""Labels for generated images, from the model that creates."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..tasks import JointLabeller, Label, labeller_for
from ..tasks.consistency import check_tasks, is_consistent
from ..utils.errors import UserError
from ..utils.image_values import size_of, swaps_channels, to_unit_range
from ..utils.models import backbone_of


class BatchLabels:
    """Labels batches of generated images.

    Args:
        model (BaseModel): A segmentor or detector, with the values that are to label, in eval mode.
        label_from (str | Mapping): 'fresh', 'last_step', 'source' or 'by_class', or 'fresh' or 'source' by task, see
            :class:`CreationSettings`.
        confidence, labelling, label_scale: See :class:`CreationSettings`.
        transforms (Sequence): Of the data set's pipeline, for 'source', and to see whether it reads
            a store's depth. Default: none, nothing is looked at.
        consistency (Mapping | None): See :class:`CreationSettings`.
        unlabelled (bool): Whether :meth:`of_unlabelled` will be asked, which looks at images in any case.

    Attributes:
        keeps (bool): Whether the backbone's ``feature_cache`` keeps what a pass over whole images computes. First not.

    Raises:
        TypeError: No labeller knows this kind of model.
        ValueError: The labeller does not know an option, the backbone has no features of the last
            denoising step, the pipeline does not load what 'source' needs, or reads a
            store's depth wrongly.
    """

    def __init__(
        self,
        model: BaseModel,
        label_from: str | Mapping[str, str] = 'fresh',
        confidence: Any = None,
        labelling: Mapping[str, Any] | None = None,
        label_scale: tuple[int, int] | None = None,
        transforms: Sequence[Any] = (),
        consistency: Mapping[str, float] | None = None,
        unlabelled: bool = False,
    ) -> None:
        self.model, self.scale, self.unlabelled = model, label_scale, unlabelled
        self.labeller = JointLabeller.of(labeller_for(model, confidence, labelling))
        self.tasks = self.labeller.tasks
        own = backbone_of(model)
        self.backbone: Any = own if hasattr(own, 'from_taps') else None
        self.keeps = False
        self.last_step, self.by_class = (label_from == name for name in ('last_step', 'by_class'))
        self.from_sources = self._from_sources(label_from)
        self.of_source = len(self.from_sources) == len(self.tasks)
        self.labeller.from_sources = self.from_sources if isinstance(label_from, Mapping) else frozenset()
        self.consistency = dict(consistency or {})
        self.contradicting = 0
        check_tasks(self.consistency, self.tasks)
        self.labeller.focal = self.consistency.get('focal', 1.0)
        self._check_sources()
        self.check_pipeline(transforms)
        if self.last_step:
            self._check_last_step()
        self._check_scale(label_from)

    def _check_sources(self) -> None:
        """Whether source images have labels of the kinds that are to be theirs."""
        if self.by_class and self.tasks != ('segmentation',):
            raise UserError(
                "creation.label_from='by_class' joins label maps of source images and model, but "
                f"{type(self.model).__name__} needs {self.labeller.task} labels: set it to 'source' or 'fresh'"
            )
        for task, labeller in self.labeller.labellers.items():
            if task in self.from_sources and not hasattr(labeller, 'source_labels'):
                raise UserError(
                    "creation.label_from='source' takes boxes, label maps, depth or "
                    f'normals of the source images, but {type(self.model).__name__} needs '
                    f"{labeller.task} labels: set it to 'fresh'"
                )

    def _check_last_step(self) -> None:
        """Whether the features of the denoising pass are those that the model would make itself."""
        if not getattr(self.backbone, 'frozen', False):
            raise UserError(
                "creation.label_from='last_step' takes the features of the denoising pass of a frozen diffusion model, "
                f'which {type(backbone_of(self.model)).__name__} does not use (with backbone.train or text_adapter it '
                "has its own): set it to 'fresh'"
            )
        if getattr(self.backbone, 'attention_maps', False):
            raise UserError(
                "creation.label_from='last_step' gives attention maps of the "
                "generator's condition, but backbone.attention_maps means the tokens "
                "of backbone.condition: set it to 'fresh'"
            )
        if getattr(self.backbone, 'keep_padding', False) or not getattr(self.backbone, 'scale_latents', True):
            raise UserError(
                "creation.label_from='last_step' takes features of scaled latents and "
                'of images without padding, but backbone.scale_latents=False or '
                "keep_padding=True asks for others: set it to 'fresh'"
            )
        if len(getattr(self.backbone, 'levels', (0,))) > 1:
            raise UserError(
                "creation.label_from='last_step' gives features of one level of noise, but backbone.timestep names "
                "several: set it to 'fresh'"
            )
        if getattr(self.backbone, 'image_scale', 1) > 1:
            raise UserError(
                "creation.label_from='last_step' gives features of images of their own size, but backbone.image_scale "
                "enlarges them: set it to 'fresh'"
            )

    def _from_sources(self, label_from: str | Mapping[str, str]) -> frozenset[str]:
        """Tasks, as the model calls them, whose stored labels are those of the source images, wholly or by class."""
        tasks = self.labeller.labellers
        if not isinstance(label_from, Mapping):
            return frozenset(tasks if label_from in ('source', 'by_class') else ())
        unknown = [task for task in label_from if task not in tasks]
        if unknown:
            raise UserError(
                f'creation.label_from names the task {unknown[0]!r}, but {type(self.model).__name__} has '
                f'{", ".join(tasks)}: correct it'
            )
        return frozenset(task for task, source in label_from.items() if source == 'source')

    def check_pipeline(self, transforms: Sequence[Any]) -> None:
        """Whether a data set's pipeline reads what is stored, and loads what 'source' needs; of joined ones, each.

        Raises:
            ValueError: It does not, or otherwise than one before.
        """
        for task, labeller in self.labeller.labellers.items():
            if task in self.from_sources and hasattr(labeller, 'read_sources'):
                labeller.read_sources(transforms)
            if hasattr(labeller, 'check_loader'):
                labeller.check_loader(transforms)

    def _check_scale(self, label_from: str | Mapping[str, str]) -> None:
        if self.scale is None:
            return
        if not all(hasattr(labeller, 'resized') for labeller in self.labeller.labellers.values()):
            raise UserError(
                'creation.label_scale resizes images for detectors, but '
                f'{type(self.model).__name__} is none: leave it out'
            )
        if label_from != 'fresh' and not self.unlabelled:
            raise UserError(
                f'creation.label_from={label_from!r} looks at no image that '
                'creation.label_scale could resize: leave it out, or set label_from '
                "to 'fresh'"
            )

    @property
    def tap_names(self) -> Sequence[str]:
        """Sequence[str]: Inner maps of the U-Net that :meth:`__call__` needs of the last pass."""
        return self.backbone.tap_names if self.last_step else ()

    def check_classes(self, classes: Sequence[str] | None) -> None:
        """Compare the head with the data set.

        Raises:
            ValueError: They have different numbers of classes.
        """
        predicted = self.labeller.count_classes(self.model)
        if predicted is not None and (classes is None or predicted != len(classes)):
            raise UserError(
                f'the head predicts {predicted} classes, but the data set has '
                f'{len(classes or ())}: set `num_classes` of the head, or `metainfo` '
                'of the data set'
            )

    @torch.no_grad()
    def __call__(
        self,
        pixels: Tensor,
        taps: Mapping[str, Tensor],
        entries: Sequence[Mapping[str, Any]],
        kept: np.ndarray | None = None,
        own: Sequence[Mapping[str, Label | None]] | None = None,
    ) -> list[Label | None]:
        """Label a batch.

        Args:
            pixels (Tensor): uint8 RGB, shape (N, 3, H, W), as it will be read back.
            taps (Mapping[str, Tensor]): Maps of the last denoising pass, for 'last_step'.
            entries (Sequence[Mapping]): Annotation entries of the source images: how the data set
                reads label values.
            kept (ndarray | None): For 'by_class': bool (N, H, W), where the source image's label holds.
            own (Sequence | None): Of :meth:`own_labels`, for each image; None: they are read here.

        Returns:
            list[Label | None]: One per image, its ``annotation`` a dict by task; None for one that
                shall not be stored.
        """
        if own is None:
            own = self.own_labels(size_of(pixels), entries)
        if self.by_class:
            return self._joined(self._predicted(pixels, taps, entries, own), entries, kept, own)
        if self.of_source:
            return self._agreeing(self.labeller.together(own))
        return self._agreeing(self._predicted(pixels, taps, entries, own))

    def own_labels(self, size: tuple[int, int], entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Label | None]]:
        """The source images' own labels of the tasks that take them, by task, for pictures of ``size``.

        Raises:
            OSError: The file of one cannot be read.
        """
        return self.labeller.own_labels(size, entries, self.from_sources)

    @torch.no_grad()
    def of_unlabelled(self, pixels: Tensor, entries: Sequence[Mapping[str, Any]]) -> list[Label | None]:
        """Label pictures that were not made from a labelled one: the model does, whatever ``label_from`` says.

        Args:
            pixels (Tensor): uint8 RGB, shape (N, 3, H, W).
            entries (Sequence[Mapping]): Of images whose data set reads the labels, as for :meth:`__call__`.
        """
        kept, self.labeller.from_sources = self.labeller.from_sources, frozenset()
        try:
            return self._agreeing(self.labeller.labels(self._predict_fresh(pixels), size_of(pixels), entries))
        finally:
            self.labeller.from_sources = kept

    def _agreeing(self, labels: Sequence[Label | None]) -> list[Label | None]:
        """None for those whose tasks contradict one another by more than the settings allow."""
        agreeing = [label if label and is_consistent(label.quality, self.consistency) else None for label in labels]
        self.contradicting += sum(bool(a) and b is None for a, b in zip(labels, agreeing))
        return agreeing

    def _joined(
        self, fresh: Sequence[Any], entries: Sequence[Mapping[str, Any]], kept: Any, own: Sequence[Mapping[str, Any]]
    ) -> list[Label | None]:
        labeller: Any = self.labeller.labellers['segmentation']

        def joined(label: Label, source: Label | None, kept: Any, entry: Mapping[str, Any]) -> Label:
            if source is None:  # nothing is kept of what nobody labelled
                return label
            both = labeller.joined(label._replace(annotation=label.annotation['segmentation']), source, kept, entry)
            return both._replace(annotation=dict(segmentation=both.annotation))

        return [joined(label, labels['segmentation'], *rest) for label, labels, *rest in zip(fresh, own, kept, entries)]

    def _predicted(
        self,
        pixels: Tensor,
        taps: Mapping[str, Tensor],
        entries: Sequence[Mapping[str, Any]],
        own: Sequence[Mapping[str, Any]],
    ) -> list[Label | None]:
        size = size_of(pixels)
        if self.last_step:
            samples = self.labeller.new_samples(len(entries), size)
            # Only the size of the input counts while features are served.
            inputs = self.backbone.from_unit_range(to_unit_range(pixels))
            with self.backbone.serve(self.backbone.from_taps(taps, size)):
                predictions = self.labeller.predict(self.model, inputs, samples)
        else:
            predictions = self._predict_fresh(pixels)
        return self.labeller.labels(predictions, size, entries, own)

    def _predict_fresh(self, pixels: Tensor) -> list[Any]:
        """Predictions in the pixels of the images, of a look at them, at ``label_scale`` where there is one."""
        seen = self._scaled(pixels)
        inputs, samples = self._preprocess(seen, self.labeller.new_samples(len(seen), size_of(seen)))
        with self.backbone.feature_cache.created(size_of(inputs)) if self.keeps else nullcontext():
            predictions = self.labeller.predict(self.model, inputs, samples)
        return predictions if seen is pixels else self.labeller.resized(predictions, size_of(seen), size_of(pixels))

    def _scaled(self, pixels: Tensor) -> Tensor:
        """Pictures at ``label_scale``; the same ones where there is none."""
        if self.scale is None:
            return pixels
        images = [
            mmcv.imrescale(image.cpu().numpy(), tuple(self.scale))  # as MMCV's `Resize`
            for image in pixels.permute(0, 2, 3, 1)
        ]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(pixels.device)

    def looked_at(self, pixels: Tensor) -> Tensor:
        """Pictures, uint8 RGB (N, 3, H, W), as a fresh look sees them: at ``label_scale``, preprocessed."""
        return self.preprocessed(self._scaled(pixels))

    def preprocessed(self, pixels: Tensor) -> Tensor:
        """Pictures, uint8 RGB (N, 3, H, W), as the model takes them in a test, perhaps padded."""
        return self._preprocess(pixels, self.labeller.new_samples(len(pixels), size_of(pixels)))[0]

    def _preprocess(self, pixels: Tensor, samples: list[Any]) -> tuple[Tensor, list[Any]]:
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
        return swaps_channels(preprocessor) == self.backbone.input_bgr
