"""What is known of an image that a diffusion model is told about."""

import os.path as osp
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """An image that is to be conditioned on.

    Attributes:
        img_path: Path of the image file; its end finds its caption, see :class:`PathTable`.
        classes: Names of the classes that its label shows, largest area first.
        caption: What the data set itself says of the image; None where it says nothing.
        seed: Of the sample, for conditions that draw one of several texts.
    """

    img_path: str = ''
    classes: tuple[str, ...] = ()
    caption: str | None = None
    seed: int = 0

    @property
    def stem(self) -> str:
        """str: File name without folder and suffix."""
        return osp.splitext(osp.basename(self.img_path))[0]
