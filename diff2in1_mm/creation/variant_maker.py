"""Variants of single images beside what a model predicts for them: ``--generate`` of the demo."""

import os.path as osp
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..datasets.source_images import load_image
from ..diffusion.condition import Condition
from ..diffusion.conditions.source import Source
from ..diffusion.contract import DiffusionModel
from ..utils.errors import UserError
from ..utils.image_values import to_bytes, to_unit_range
from ..utils.randomness import stable_seed
from ..visualization.predictor import Predictor
from ..visualization.variants import Pair, variants_picture
from .create import diffusion_of
from .generator import PartialNoiseGenerator, known_to
from .settings import CreationSettings


class VariantMaker:
    """Makes variants of single images, and the picture of them.

    Args:
        settings (CreationSettings): ``T``, a list, has the rows, ``copies_per_source`` the variants in
            each.
        seed (int): Of the noise, which is the same in all rows.
    """

    def __init__(self, settings: CreationSettings, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.generator = settings.build_generator()
        self.levels = list(settings.T) if isinstance(settings.T, Sequence) else []

    def attach(self, predictor: Predictor, paths: Iterable[str]) -> None:
        """Take the diffusion model and the labels from a predictor, and look at all conditions.

        Raises:
            ValueError: It has no diffusion model, or one without such noise steps, or an image's
                prompt is missing or too long.
        """
        self.predictor = predictor
        try:
            diffusion = diffusion_of(predictor.model, self.settings)
            diffusion.to(next(predictor.model.parameters()).device)  # a pretrained one waits beside one that is trained
            self.attach_model(diffusion, paths)
        except ValueError as error:
            raise UserError(f'--generate: {error}') from error

    def attach_model(self, diffusion: DiffusionModel, paths: Iterable[str]) -> None:
        """Take the diffusion model alone, and look at all conditions; see :meth:`attach`."""
        self.diffusion = diffusion
        self.generator.check_model(diffusion)
        condition = self.generator.condition
        if getattr(condition, 'wants_classes', False):
            return  # of what the model will find
        with self.diffusion.text.kept():
            for path in paths if condition.per_image else ['']:
                self._embed(Source(path))

    def seconds(self, path: str, prediction: Any) -> float:
        """About how long all variants of an image take: two short runs tell a pass of the denoiser from all else.

        Args:
            path (str): Of the image.
            prediction (SegDataSample | DetDataSample): Of it.
        """
        image, source = self._source_image(path, prediction), self._source(path, prediction)
        taken = []
        for steps in (1, 2):
            short = replace(self.settings, steps=steps, copies_per_source=1).build_generator()
            begin = time.perf_counter()
            self._generate(short, image, source, self.levels[-1], [0])
            taken.append(time.perf_counter() - begin)
        one_pass = max(taken[1] - taken[0], 0.0)
        passes = sum(self.generator.steps_for(T) for T in self.levels)
        return self.settings.copies_per_source * (len(self.levels) * max(taken[0] - one_pass, 0.0) + passes * one_pass)

    def _embed(self, source: Source) -> Condition:
        condition = self.generator.condition.embed(self.diffusion.text, [source])
        self.diffusion.check_condition(condition)
        return condition

    def picture(self, path: str, image: np.ndarray, prediction: Any, overlay: np.ndarray) -> np.ndarray:
        """All variants of one image beside their predictions.

        Args:
            path (str): Of the image.
            image (ndarray): uint8 (H, W, 3), RGB.
            prediction (SegDataSample | DetDataSample): Of the image.
            overlay (ndarray): The prediction drawn over the image.

        Returns:
            ndarray: uint8 RGB picture.
        """
        source, start = self._source(path, prediction), self._source_image(path, prediction)
        shown, rows = set(self.predictor.present(prediction)), []
        for T in self.levels:
            pairs = []
            for variant in self.variants(start, source, T):
                label = self.predictor.predict(variant)
                shown.update(self.predictor.present(label))
                pairs.append(Pair(variant, self.predictor.draw(variant, label)))
            rows.append((T, pairs))
        return variants_picture(Pair(image, overlay), rows, self._title(source, start), self.predictor.legend(shown))

    def _source(self, path: str, prediction: Any) -> Source:
        return Source(path, tuple(self.predictor.classes[i] for i in self.predictor.present(prediction)))

    def _source_image(self, path: str, prediction: Any) -> np.ndarray:
        """At the size of the creation stage, or else at the one that the model sees."""
        scale, keep_ratio = self.settings.scale, self.settings.keep_ratio
        if scale is None:
            scale, keep_ratio = tuple(prediction.metainfo['img_shape'][1::-1]), False
        return load_image(path, scale, keep_ratio, self.predictor.turns)

    def variants(self, image: np.ndarray, source: Source, T: int) -> list[np.ndarray]:
        """uint8 (H, W, 3) RGB images; how many fit into a batch changes nothing."""
        seeds = [stable_seed(self.seed, 'demo', copy) for copy in range(self.settings.copies_per_source)]
        return self._generate(self.generator, image, source, T, seeds)

    def _generate(
        self, generator: PartialNoiseGenerator, image: np.ndarray, source: Source, T: int, seeds: list[int]
    ) -> list[np.ndarray]:
        pixels = torch.from_numpy(image).to(self.diffusion.device).permute(2, 0, 1).float()
        condition = self._embed(source)
        variants: list[np.ndarray] = []
        for first in range(0, len(seeds), self.settings.batch_size):
            part = seeds[first : first + self.settings.batch_size]
            made = generator.generate(
                self.diffusion,
                to_unit_range(pixels).expand(len(part), -1, -1, -1),
                condition,
                part,
                T,
                **known_to(generator, alike=[0] * len(part)),
            ).images
            variants.extend(to_bytes(made).permute(0, 2, 3, 1).cpu().numpy())
        return variants

    def _title(self, source: Source, image: np.ndarray) -> str:
        condition = self.generator.condition
        text = condition.text(source) if hasattr(condition, 'text') else type(condition).__name__
        steps = sorted({self.generator.steps_for(T) for T in self.levels})
        return (
            f'{osp.basename(source.img_path)}, {image.shape[1]} x {image.shape[0]}, '
            f'{self.generator.solver}, {"/".join(map(str, steps))} steps, {self._guidance()}'
            f'seed {self.seed}, prompt "{text}"'
        )

    def _guidance(self) -> str:
        scale = self.settings.guidance_scale
        return '' if scale == 1 else f'guidance {scale:g}, '
