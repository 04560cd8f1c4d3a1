"""What a student sees of a batch: transforms of the images alone, and boxes of other synthetic samples."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from torch import Generator, Tensor

from ..utils.errors import UserError, first_line
from ..utils.values import check_choice, is_number

__all__ = ['StudentView', 'cut_mix']


class StudentView:
    """``student_view`` of ``SelfImprovingHook`` as a list of transforms, or a dict of these arguments.

    Args:
        transforms (Sequence[dict]): Of MMCV's kind, from the registry. They are given ``img`` as a pipeline's loader
            gives it (uint8 BGR), and may change its colours or hide parts, but move nothing: labels stay as they are.
        of (str): 'synthetic' samples, or 'both': real ones of the second stage too. Default 'synthetic'.
        cutmix (float): Share of the synthetic samples that get a box, image and label map, of another synthetic one
            of their batch (CutMix, Yun et al. 2019). Default 0.

    Raises:
        ValueError: A value is out of range, or a transform moves pixels or fails on an image alone.
    """

    def __init__(self, transforms: Sequence[dict] = (), of: str = 'synthetic', cutmix: float = 0.0) -> None:
        check_choice('student_view.of', of, ('synthetic', 'both'))
        if not is_number(cutmix, 0, 1):
            raise UserError(f'student_view.cutmix = {cutmix!r} must be a share of the synthetic samples, from 0 to 1')
        if not transforms and not cutmix:
            raise UserError("student_view changes nothing: give it transforms, or cutmix, or set it to 'same'")
        self.of_both, self.cutmix = of == 'both', cutmix
        self.transforms = [TRANSFORMS.build(dict(transform)) for transform in transforms]
        trial = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        for seed in range(8 if self.transforms else 0):  # one that is drawn at random may leave the first as it is
            self._changed(trial, seed)

    @classmethod
    def of_config(cls, value: Any) -> 'StudentView':
        """From a list of transforms, or a dict of arguments.

        Raises:
            ValueError: It is neither, or has an argument that there is not.
        """
        try:
            return cls(**value) if isinstance(value, Mapping) else cls(list(value))
        except TypeError as error:
            raise UserError(
                f'student_view = {value!r} must be a list of transforms, or a dict with transforms, of and cutmix '
                f'({first_line(error)})'
            ) from error

    def __call__(self, images: Tensor, mean: Tensor, std: Tensor, swapped: bool, seeds: Sequence[int]) -> Tensor:
        """Images as the transforms leave them.

        Args:
            images (Tensor): Normalised, (n, 3, H, W).
            mean, std (Tensor): (3, 1, 1), which lead back to pixel values in [0, 255].
            swapped (bool): Whether they are RGB of a loader's BGR.
            seeds (Sequence[int]): Of each image: the random numbers of its transforms.

        Returns:
            Tensor: New ones of the same shape, normalised again.
        """
        if not self.transforms:
            return images
        pixels = (images * std + mean).round().clamp(0, 255).to(torch.uint8)
        loaded = (pixels.flip(1) if swapped else pixels).permute(0, 2, 3, 1).cpu().numpy()
        changed = np.stack([self._changed(image.copy(), seed) for image, seed in zip(loaded, seeds)])
        back = torch.from_numpy(changed).permute(0, 3, 1, 2).to(images)
        return ((back.flip(1) if swapped else back) - mean) / std

    def _changed(self, image: np.ndarray, seed: int) -> np.ndarray:
        size = image.shape[:2]
        # labels that no neighbour shares: whoever moves a pixel shows it
        places = np.random.default_rng(1).integers(0, 255, size, np.uint8)
        results: Any = dict(img=image, img_shape=size, ori_shape=size, height=size[0], width=size[1])
        results.update(gt_seg_map=places.copy(), seg_fields=['gt_seg_map'])
        with _seeded(seed):
            for transform in self.transforms:
                name = type(transform).__name__
                try:
                    results = transform(results)
                    changed = np.asarray(results['img'])
                except Exception as error:  # whatever it misses
                    raise UserError(
                        f'{name} of student_view fails on an image alone ({type(error).__name__}: '
                        f'{first_line(error)}): take transforms of colours'
                    ) from error
                if changed.shape != image.shape or not np.array_equal(results.get('gt_seg_map'), places):
                    raise UserError(
                        f'{name} of student_view moves pixels or changes labels, and those of theta_C are of the image '
                        "as it was: take transforms of colours, and put this one into the data set's pipeline"
                    )
        return changed.clip(0, 255).astype(np.float32)


def cut_mix(
    images: Tensor, targets: Sequence[Tensor], share: float, generators: Sequence[Generator]
) -> tuple[Tensor, list[Tensor]]:
    """Images with a box of another of them, of half the area and any aspect (French et al. 2020, *Semi-supervised
    semantic segmentation needs strong, varied perturbations*), and their targets likewise.

    Args:
        images (Tensor): (n, 3, H, W).
        targets (Sequence[Tensor]): Labels of each, (1, H, W).
        share (float): Of the images that get one.
        generators (Sequence[Generator]): One CPU generator per image.

    Returns:
        tuple[Tensor, list[Tensor]]: New ones; a single image stays as it is.
    """
    mixed, labels = images.clone(), [target.clone() for target in targets]
    height, width = images.shape[-2:]
    for i, generator in enumerate(generators if len(images) > 1 else ()):
        wanted, other, aspect, down, right = torch.rand(5, generator=generator).tolist()
        if wanted >= share:
            continue
        j = (i + 1 + int(other * (len(images) - 1))) % len(images)
        h = round(height * 0.5**aspect)
        w = round(width * 0.5 ** (1 - aspect))
        top, left = round(down * (height - h)), round(right * (width - w))
        box = (..., slice(top, top + h), slice(left, left + w))
        mixed[i][box] = images[j][box]
        labels[i][box] = targets[j][box]
    return mixed, labels


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """All generators that transforms draw from; they are left as they were."""
    before, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpys)
