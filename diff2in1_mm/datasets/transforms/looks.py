"""Training images in the look of other pictures."""

import os.path as osp

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ...utils.errors import UserError
from ...utils.randomness import stable_seed
from ...utils.values import is_number
from ..looks import Looks, grained
from .copies import Copies

__all__ = ['AddGrain', 'RecolouredCopies']


@TRANSFORMS.register_module()
class RecolouredCopies(Copies):
    """Gives an image the light and colours of an unlabelled picture, for a test at another hour or place.

    What the diffusion model's ``creation.look`` begins with, without the model: the control of it. As with
    :class:`PhotometricCopies` an image has so many results that come again, and synthetic images stay as they are.

    Args:
        images (str): Folder or glob of the pictures.
        copies (int): Results of an image; the image itself comes as often as one of them. Default 4.
        grain (bool): Whether an image gets the noise of the picture too, where it has less: for a camera that sees
            little light. Default False.

    Raises:
        ValueError: ``copies`` is no whole number above 0.
        FileNotFoundError: There are no pictures.
    """

    def __init__(self, images: str, copies: int = 4, grain: bool = False) -> None:
        super().__init__(copies)
        self.grain = grain
        self.looks = Looks(images, 'RecolouredCopies.images')

    def changed(self, results: dict, copy: int) -> dict:
        """Changes ``img`` (BGR), by a seed of the file's name and the copy that was drawn."""
        draw = stable_seed(osp.basename(results['img_path']), copy, 'look')
        rgb = self.looks(results['img'][..., ::-1], draw, self.grain)
        results['img'] = np.ascontiguousarray(rgb[..., ::-1])
        return results


@TRANSFORMS.register_module()
class AddGrain(BaseTransform):
    """Gives an image the noise of the test's camera, where it has less; synthetic images too.

    Autoencoders of diffusion models smooth the noise of a camera and fine textures away, and simulators have none: a
    backbone that is trained on such images is misled by photographs. An image is another each time, so features of a
    frozen backbone are not kept.

    Args:
        images (str | None): Folder or glob of unlabelled pictures, of which each image takes one's noise; or ``noise``.
        noise (float | None): Its deviation, of 255.

    Raises:
        ValueError: Not exactly one of the two is given, or ``noise`` is no number from 0 to 255.
        FileNotFoundError: There are no pictures.
    """

    def __init__(self, images: str | None = None, noise: float | None = None) -> None:
        if (images is None) == (noise is None):
            raise UserError('AddGrain takes the noise of pictures or a number: give it images or noise, one of the two')
        if noise is not None and not is_number(noise, 0, 255):
            raise UserError(f'AddGrain.noise = {noise!r} must be a deviation of 255, such as 3')
        self.noise = noise or 0.0
        self.looks = None if images is None else Looks(images, 'AddGrain.images')

    def transform(self, results: dict) -> dict:
        """Changes ``img``, uint8 (H, W, 3).

        Raises:
            OSError: None of the pictures can be read.
        """
        noise = self.noise if self.looks is None else self.looks.drawn(np.random.randint(2**31)).noise
        results['img'] = grained(results['img'], noise, np.random.randint(2**31))
        return results
