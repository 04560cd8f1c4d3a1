"""One face for MMSegmentation's and MMDetection's inference and visualizers."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from ..utils.errors import UserError
from ..utils.optional import check_config, scope_of
from ..utils.pictures import label_colours
from ..utils.quiet_libraries import mismatches_untold

__all__ = ['Detector', 'Segmentor', 'predictor_for']


class Predictor(ABC):
    """A trained model that predicts single images and draws what it predicts.

    Args:
        cfg (Config): Of the model; its copy is changed.
        checkpoint (str): Trained weights; frozen ones come from the source the config names.
        device (str): For example 'cuda:0'. Default 'cpu'.
        opacity (float): Of masks over the image, in [0, 1]. Default 0.5.

    Attributes:
        model (BaseModel): In eval mode.
        classes (list[str]): Class names.
        colours (ndarray): uint8 (classes, 3), RGB.
        turns (bool): The model's loader applies an image's EXIF orientation; predictions fit to an
            image that was read the same way.
        writes_names (bool): Class names are in the pictures of :meth:`draw`.
    """

    writes_names = False

    def __init__(self, cfg: Config, checkpoint: str, device: str = 'cpu', opacity: float = 0.5) -> None:
        cfg = copy.deepcopy(cfg)
        # What tools/test.py evaluates with, also where a config's `test_pipeline` was left behind.
        cfg.test_pipeline = inference_pipeline(cfg)
        with mismatches_untold():
            self.model = self._load(cfg, checkpoint, device)
        self.opacity = opacity
        with DefaultScope.overwrite_default_scope(scope_of(cfg)):
            self._pipeline = Compose(cfg.test_pipeline)
        loader = cfg.test_pipeline[0] if cfg.test_pipeline else {}
        self.turns = not str(loader.get('color_type', '')).endswith('ignore_orientation')
        meta = self.model.dataset_meta or {}
        self.classes: list[str] = list(meta.get('classes') or ())
        palette = meta.get('palette')
        self.colours = label_colours(len(self.classes), palette if isinstance(palette, (list, tuple)) else None)
        self.visualizer = self._visualizer()
        self.visualizer.dataset_meta = dict(
            classes=self.classes, palette=[tuple(map(int, colour)) for colour in self.colours]
        )

    def predict(self, image: str | np.ndarray) -> BaseDataElement:
        """Predict a whole image through the config's test pipeline.

        Args:
            image (str | ndarray): Path, or uint8 (H, W, 3) in RGB.

        Returns:
            SegDataSample | DetDataSample: In the coordinates of the image.
        """
        if not isinstance(image, str):
            image = np.ascontiguousarray(image[..., ::-1])  # what OpenMMLab's loaders give
        # For arrays MMSegmentation rewrites the pipeline of the config itself.
        cfg, self.model.cfg = self.model.cfg, copy.deepcopy(self.model.cfg)
        try:
            return self._predict(image)
        finally:
            self.model.cfg = cfg

    def read(self, path: str) -> dict[str, Any]:
        """An image through the config's test pipeline; may be called in any thread.

        Args:
            path (str): Image file.

        Returns:
            dict: 'inputs' and 'data_samples', of one image.
        """
        return self._pipeline(dict(img_path=path, img_id=0))

    @torch.no_grad()
    def predict_together(self, items: Sequence[dict[str, Any]]) -> list[BaseDataElement]:
        """Predict images as one batch.

        Args:
            items (Sequence[dict]): What :meth:`read` gave, with 'inputs' of one shape.

        Returns:
            list[SegDataSample | DetDataSample]: As :meth:`predict` gives each.
        """
        return self.model.test_step(pseudo_collate(list(items)))

    @abstractmethod
    def draw(self, image: np.ndarray, prediction: BaseDataElement) -> np.ndarray:
        """Draw a prediction over its image.

        Args:
            image (ndarray): uint8 (H, W, 3), RGB.
            prediction (SegDataSample | DetDataSample): Of this image.

        Returns:
            ndarray: uint8 (H, W, 3), RGB.
        """

    @abstractmethod
    def present(self, prediction: BaseDataElement) -> list[int]:
        """Classes that a prediction shows, largest area first."""

    @abstractmethod
    def _load(self, cfg: Config, checkpoint: str, device: str) -> BaseModel:
        """The library's own loading."""

    @abstractmethod
    def _predict(self, image: str | np.ndarray) -> BaseDataElement:
        """The library's own inference; arrays are BGR."""

    @abstractmethod
    def _visualizer(self) -> Visualizer:
        """The library's own visualizer."""

    def legend(self, classes: Iterable[int]) -> list[tuple[str, np.ndarray]]:
        """Names and colours of classes, in their order."""
        return [(self.classes[i], self.colours[i]) for i in sorted(classes)]


class Segmentor(Predictor):
    """A model of MMSegmentation."""

    def _load(self, cfg: Config, checkpoint: str, device: str) -> BaseModel:
        from mmseg.apis import init_model

        return init_model(cfg, checkpoint, device=device)

    def _predict(self, image: str | np.ndarray) -> BaseDataElement:
        from mmseg.apis import inference_model

        return inference_model(self.model, image)

    def _visualizer(self) -> Visualizer:
        from .scene_visualizer import SceneLocalVisualizer

        return SceneLocalVisualizer(name='prediction', alpha=self.opacity)

    def draw(self, image: np.ndarray, prediction: BaseDataElement) -> np.ndarray:
        # names are left to the legend: the library's search for a place to write takes seconds in large images
        return self.visualizer.picture(image, prediction)

    def present(self, prediction: BaseDataElement) -> list[int]:
        if 'pred_sem_seg' not in prediction:
            return []
        # binary heads predict floats
        labels = prediction.pred_sem_seg.data.long().cpu().numpy().ravel()
        areas = np.bincount(labels[(labels >= 0) & (labels < len(self.classes))])
        return [int(i) for i in np.argsort(-areas, kind='stable') if areas[i]]


class Detector(Predictor):
    """A model of MMDetection: boxes, masks, or the segments of a panoptic map.

    Args:
        score_thr (float): Boxes with lower scores are not drawn. Default 0.3.
    """

    writes_names = True

    def __init__(self, *args, score_thr: float = 0.3, **kwargs) -> None:
        self.score_thr = score_thr
        super().__init__(*args, **kwargs)

    def _load(self, cfg: Config, checkpoint: str, device: str) -> BaseModel:
        from mmdet.apis import init_detector

        # The data set is built to ask for its palette, and would look for its files, or make them.
        dataset = dict(type='mmdet.BaseDetDataset', metainfo=_own_palette(cfg))
        cfg.test_dataloader = ConfigDict(dataset=dataset)
        return init_detector(cfg, checkpoint, device=device)

    def _predict(self, image: str | np.ndarray) -> BaseDataElement:
        from mmcv.transforms import Compose
        from mmdet.apis import inference_detector

        pipeline = copy.deepcopy(self.model.cfg.test_pipeline)
        if not isinstance(image, str):
            pipeline[0]['type'] = 'mmdet.LoadImageFromNDArray'
        return inference_detector(self.model, image, test_pipeline=Compose(pipeline))

    def _visualizer(self) -> Visualizer:
        from mmdet.visualization import DetLocalVisualizer

        return DetLocalVisualizer(name='prediction', alpha=self.opacity)

    def draw(self, image: np.ndarray, prediction: BaseDataElement) -> np.ndarray:
        if 'pred_panoptic_seg' in prediction:
            # alone: the boxes of the same things would lie over it
            segments = prediction.pred_panoptic_seg
            prediction = type(prediction)(metainfo=prediction.metainfo)
            if (segments.sem_seg != len(self.classes)).any():  # MMDetection cannot draw a void map
                prediction.pred_panoptic_seg = segments
        self.visualizer.add_datasample('prediction', image, prediction, draw_gt=False, pred_score_thr=self.score_thr)
        return self.visualizer.get_image()

    def present(self, prediction: BaseDataElement) -> list[int]:
        """See :meth:`Predictor.present`; of what is drawn."""
        if 'pred_panoptic_seg' in prediction:
            from mmdet.evaluation import INSTANCE_OFFSET

            labels = prediction.pred_panoptic_seg.sem_seg.cpu().numpy().ravel() % INSTANCE_OFFSET
            areas = np.bincount(labels, minlength=len(self.classes))[: len(self.classes)]
            return [int(i) for i in np.argsort(-areas, kind='stable') if areas[i]]
        if 'pred_instances' not in prediction:
            return []
        boxes = prediction.pred_instances
        boxes = boxes[boxes.scores > self.score_thr].cpu()
        sides = (boxes.bboxes[:, 2:] - boxes.bboxes[:, :2]).numpy()
        areas = np.bincount(boxes.labels.numpy(), weights=sides.prod(1))
        return [int(i) for i in np.argsort(-areas, kind='stable') if areas[i]]


def _own_palette(cfg: Config) -> dict:
    """The palette of the config's test data set as a ``metainfo``, empty where it names none."""
    from mmdet.registry import DATASETS

    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    metainfo = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
    return {name: value for name, value in metainfo.items() if name == 'palette'}


#: Transforms that load truth and are not called annotation.
_SCENE_LOADERS = ('LoadBoundaries', 'LoadDepth', 'LoadNormals', 'LoadParts', 'LoadSaliency')

#: Scope of a config -> what predicts for it.
_PREDICTORS = dict(mmseg=Segmentor, mmdet=Detector)


def predictor_for(
    cfg: Config, checkpoint: str, device: str = 'cpu', opacity: float = 0.5, score_thr: float | None = None
) -> Predictor:
    """The predictor for a config, chosen by its scope.

    Args:
        cfg (Config): Of MMSegmentation's or MMDetection's kind.
        checkpoint, device, opacity: See :class:`Predictor`.
        score_thr (float | None): See :class:`Detector`. None: its default.

    Raises:
        ValueError: The config is of another library, has no test pipeline, or the checkpoint does
            not belong to it.
        ImportError: The library is not installed.
    """
    check_config(cfg)
    scope = scope_of(cfg)
    if scope not in _PREDICTORS:
        raise UserError(
            f'the config is of the scope {scope!r}, but pictures are drawn for '
            f'{" and ".join(_PREDICTORS)}: set `default_scope` in it to one of these'
        )
    options: dict[str, Any] = dict(device=device, opacity=opacity)
    if scope == 'mmdet' and score_thr is not None:
        options['score_thr'] = score_thr
    return _PREDICTORS[scope](cfg, checkpoint, **options)


def inference_pipeline(cfg: Config) -> list[ConfigDict]:
    """The transforms of the test data set, without those that load annotations.

    Raises:
        ValueError: The config has none.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset', {})  # None: no testing
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    pipeline = dataset.get('pipeline') or cfg.get('test_pipeline')
    if not pipeline:
        raise UserError('the config has no test pipeline: set test_dataloader.dataset.pipeline')
    return [step for step in pipeline if not _loads_annotations(step['type'])]


def _loads_annotations(kind: str | type) -> bool:
    name = str(getattr(kind, '__name__', kind)).rpartition('.')[2]
    return name in _SCENE_LOADERS or (name.startswith('Load') and 'Annotation' in name)
