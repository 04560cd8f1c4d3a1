"""Labels of one domain, a test in another: what shifted_rooms.py, camvid_dusk.py and simulated_cells.py have in common.

What tells them apart is a :class:`Shift`. The target's pictures have no labels; controls have them, too.
"""

import argparse
import os
import os.path as osp
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from experiment import Arm, keep_settings
from mmengine.config import Config
from mmengine.registry import MODELS

from diff2in1_mm.creation.generator import Generated, PartialNoiseGenerator
from diff2in1_mm.datasets.image_folder import find_images
from diff2in1_mm.datasets.source_images import load_image
from diff2in1_mm.utils.image_values import to_bytes, to_unit_range

#: Distortion that reaches what a night does to brightness and colour.
_STRONG = dict(brightness_delta=48, contrast_range=(0.2, 1.5), saturation_range=(0.3, 1.7), hue_delta=36)
_KEPT = dict(targets='creation', student_view='same')
_BOTH = dict(targets='unlabelled', student_view='same', confidence=0.9)
_CREATED = 'custom_hooks.0.creation'


class Shift(NamedTuple):
    """Where the pictures of an experiment are; generators read it from the environment.

    Attributes:
        target (str): Folder of the unlabelled pictures.
        same (str): Folder of the labelled pictures as they are in the target, by the same names; '': there are none.
        labelled (str): Folder of the labelled pictures; '' without ``same``.
    """

    target: str
    same: str = ''
    labelled: str = ''

    def announce(self) -> None:
        """Tell the generators of this module."""
        os.environ.update({f'SHIFT_{name.upper()}': value for name, value in self._asdict().items()})


def _created(**options) -> dict:
    return {f'{_CREATED}.{name}': value for name, value in options.items()}


def arms(labelled: str, target: str, by_class: dict | None = None, **created) -> dict[str, Arm]:
    """The arms, controls first in each family.

    Args:
        labelled (str): What pictures with labels are called, for the tables.
        target (str): What pictures of the target are called.
        by_class (dict | None): Levels of noise of an arm of its own, by class; None: there is none.
        **created: Options of the creation of all arms with synthetic images; ``look='target'``: in its colours. Arms
            with synthetic images and unlabelled ones of the target take all of these.
    """
    kept = dict(label_from='source', **created)
    given = {name: value for name, value in created.items() if name != 'look'}  # pictures that stay as they are
    found = {
        'labelled': Arm('strong', dict(creation=None), f'{labelled}, regularised'),
        'distorted': Arm('distorted', dict(creation=None), f'{labelled}, strong photometric distortion'),
        'distorted, grainy': Arm('distorted, grainy', dict(creation=None), f'the last, with the noise of {target}'),
    }
    for family, text in (
        ('recoloured', f'{labelled} in the colours of {target}'),
        ('grainy', f'{labelled} in the colours and with the noise of {target}'),
    ):
        found |= {
            family: Arm(family, dict(creation=None), text),
            f'{family}, target pictures': Arm(
                family,
                dict(student_view='same'),
                f'"{family}", and unlabelled {target} with the labels of theta_C',
                _created(generator='TargetPictures', **given),
            ),
            f'{family}, sure target pictures': Arm(
                family,
                dict(student_view='same', confidence=0.9),
                'the last, pixels of confidence 0.9 alone',
                _created(generator='TargetPictures', **given),
            ),
            f'{family}, synthetic': Arm(
                family,
                _KEPT,
                f'"{family}", and synthetic {target} with the labels of what they were made from',
                _created(**kept),
            ),
            f'{family}, both': Arm(
                family,
                _BOTH,
                f'"{family}, synthetic", and unlabelled {target} with the labels of theta_C, confidence 0.9',
                _created(**kept, unlabelled='target'),
            ),
            f'{family}, theta_C': Arm(
                family,
                dict(student_view='same'),
                f'"{family}", and synthetic {target} with the labels of theta_C',
                _created(**created),
            ),
            f'{family}, the same': Arm(
                family,
                _KEPT,
                f'oracle: "{family}", and the labelled pictures as {target}',
                _created(generator='SameInTarget', label_from='source', **given),
            ),
        }
        if by_class is not None:
            found[f'{family}, by class'] = Arm(
                family,
                _KEPT,
                f'"{family}, synthetic" with a level of noise for each class',
                _created(**kept, T=dict(_delete_=True, **by_class)),
            )
            found[f'{family}, by class and both'] = Arm(
                family,
                _BOTH,
                f'"{family}, both" with a level of noise for each class',
                _created(**kept, unlabelled='target', T=dict(_delete_=True, **by_class)),
            )
    return found


def begin(args: argparse.Namespace, pictures: str, prepare: Callable[[argparse.Namespace], None]) -> Shift:
    """Make an experiment's folder and what is in it; paths of ``args`` become absolute.

    Args:
        args (Namespace): Of ``experiment_arguments``.
        pictures (str): Folder of the target's pictures, below that of the experiment.
        prepare (Callable): Makes the pictures.

    Returns:
        Shift: Which generators know from now on.
    """
    args.out, args.data_root = osp.abspath(args.out), osp.abspath(args.data_root)
    places = Shift(osp.join(args.out, pictures))
    places.announce()
    if not args.table:
        os.makedirs(args.out, exist_ok=True)
        keep_settings(args.out, args)
        prepare(args)
    return places


def set_shift(cfg: Config, arm: Arm, shift: Shift, copies: int, captions: str | None = None) -> None:
    """Put what an arm does about the shift into the config of a family 'strong'.

    Args:
        cfg (Config): With the arm's options, ``PhotometricCopies`` or ``PhotoMetricDistortion`` in its pipeline.
        arm (Arm): Of :func:`arms`.
        shift (Shift): The pictures.
        copies (int): Colours that an image of the family 'recoloured' comes in.
        captions (str | None): Template of the captions of what is created, with ``{caption}``; None: the sources'.
    """
    pipeline = cfg.train_dataloader.dataset.dataset.pipeline
    distorting = next(step for step in pipeline if step['type'] in ('PhotometricCopies', 'PhotoMetricDistortion'))
    place = pipeline.index(distorting)
    if arm.family.startswith('distorted'):
        distorting.update(_STRONG)
    elif arm.family != 'strong':
        pipeline[place] = dict(type='RecolouredCopies', images=shift.target, copies=copies)
    if arm.family.endswith('grainy'):
        pipeline.insert(place + 1, dict(type='AddGrain', images=shift.target))
    creation = cfg.custom_hooks[0].creation
    if creation is not None and creation.get('unlabelled'):
        creation.unlabelled = shift.target
    if creation is not None and creation.get('look'):
        creation.look = shift.target
        if captions is not None:
            creation.condition = dict(type='Restyle', templates=[captions])


class _Given(PartialNoiseGenerator):
    """Hands out pictures that are there."""

    def generate(self, diffusion, images, condition, seeds, T, taps=()) -> Generated:
        found = np.stack([self.picture(image, seed) for image, seed in zip(to_bytes(images), seeds)])
        return Generated(to_unit_range(torch.from_numpy(found).permute(0, 3, 1, 2).to(images.device)), {})

    def picture(self, image: torch.Tensor, seed: int) -> np.ndarray:
        """RGB uint8 (H, W, 3) in place of a source image (3, H, W)."""
        raise NotImplementedError


@MODELS.register_module()
class TargetPictures(_Given):
    """Unlabelled pictures of the target."""

    def picture(self, image: torch.Tensor, seed: int) -> np.ndarray:
        files = _files(os.environ['SHIFT_TARGET'])
        found = load_image(files[seed % len(files)])
        if found.shape[:2] != image.shape[-2:]:
            raise ValueError(f'the pictures of the target must be of {tuple(image.shape[-2:])} pixels, as sources are')
        return found


@MODELS.register_module()
class SameInTarget(_Given):
    """The source image as it is in the target."""

    def picture(self, image: torch.Tensor, seed: int) -> np.ndarray:
        pairs = _by_content(os.environ['SHIFT_LABELLED'], os.environ['SHIFT_SAME'])
        return load_image(pairs[image.permute(1, 2, 0).cpu().numpy().tobytes()])


@lru_cache(maxsize=None)
def _files(folder: str) -> list[str]:
    return find_images(folder, 'render or link them first')


@lru_cache(maxsize=1)
def _by_content(labelled: str, same: str) -> dict[bytes, str]:
    """Pixels of a labelled picture -> path of the same in the target."""
    return {load_image(path).tobytes(): path.replace(labelled, same) for path in _files(labelled)}
