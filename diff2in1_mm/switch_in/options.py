"""What the person who switches a config chooses."""

from dataclasses import dataclass
from typing import Any

from ..diffusion.contract import DiffusionModel
from ..diffusion.families import check_source, family_of
from ..diffusion.loading.embedded import locate
from ..diffusion.loading.source import denoiser_config, is_told_a_class
from ..diffusion.precision import DTYPES
from ..utils.errors import UserError
from .maps import BackboneMaps

__all__ = ['WAYS', 'SwitchOptions']

#: Ways to switch a config, the one that changes most first, and the options of each.
WAYS: dict[str, dict[str, Any]] = {
    'diffusion backbone': dict(),
    'own backbone': dict(keep_backbone=True),
    'features only': dict(features_only=True),
}


@dataclass(frozen=True)
class SwitchOptions:
    """Choices of :func:`switch_in`.

    Attributes:
        diffusion (str): Source of the diffusion model: hub id, folder or file.
        dtype (str): Of its frozen parts: 'bf16', 'fp16' or 'fp32'.
        features_only (bool): Only the backbone, without synthetic data and theta_C.
        keep_backbone (bool): Only synthetic data and theta_C: the model stays as it is, and the diffusion model is
            in memory for the creation alone.
        warm_up (int | None): In epochs or iterations, as the config's loop. None: half the run.
        T (int | None): Noise step of creation, 1 to 999. None: 400 for label maps, else 300.
        maps (BackboneMaps | None): What the replaced backbone gave. None: it is built and tried.
        side (int | None): Height and width of the images to try it on, in pixels. None: what a
            backbone of one size says, or several, 64 and more.
        train (str | None): Train the denoiser along: 'lora', or 'full' at a tenth of the config's rate. None: frozen.

    Raises:
        ValueError: One of them is out of range, or without effect.
    """

    diffusion: str = 'stable-diffusion-v1-5/stable-diffusion-v1-5'
    dtype: str = 'bf16'
    features_only: bool = False
    warm_up: int | None = None
    T: int | None = None
    maps: BackboneMaps | None = None
    side: int | None = None
    keep_backbone: bool = False
    train: str | None = None

    def __post_init__(self) -> None:
        check_source(self.diffusion)
        if self.dtype not in DTYPES:
            raise UserError(f'dtype={self.dtype!r} is not one of {", ".join(sorted(DTYPES))}.')
        if self.dtype not in self.family.dtypes:
            others = ' or '.join(self.family.dtypes)
            raise UserError(f'activations of {self.diffusion} may overflow in {self.dtype}: take dtype {others}.')
        if self.train not in (None, 'lora', 'full'):
            raise UserError(f'train={self.train!r} is neither lora nor full.')
        if self.train and self.dtype == 'fp16':
            raise UserError(f'train={self.train!r} passes gradients, which vanish in fp16: take dtype bf16 or fp32.')
        if self.T is not None and not 1 <= self.T <= 999:
            raise UserError(f'T={self.T} is out of range: 1 to 999.')
        if self.warm_up is not None and self.warm_up < 0:
            raise UserError(f'a warm-up of {self.warm_up} is out of range: 0 or more.')
        if self.side is not None and self.side < 32:
            raise UserError(f'side={self.side} is too small to tell strides: 32 pixels or more.')
        if self.features_only and (self.T is not None or self.warm_up is not None):
            raise UserError(
                'features_only leaves out the synthetic images that T and the warm-up are for: give either.'
            )
        if self.keep_backbone and self.features_only:
            raise UserError('features_only and keep_backbone leave nothing of Diff-2-in-1: give either.')
        if self.keep_backbone and self.train is not None:
            raise UserError('train is of the diffusion backbone, which keep_backbone leaves out: give either.')
        if self.keep_backbone and self.maps is not None:
            raise UserError(
                'channels and strides are those of a backbone that is replaced: leave them or keep_backbone.'
            )
        if self.maps is not None and self.side is not None:
            raise UserError('side is for trying a backbone, whose maps are given already: give either.')

    @property
    def family(self) -> type[DiffusionModel]:
        """type[DiffusionModel]: The class that serves the diffusion model; Stable Diffusion's for a hub id of which
        nothing is on this machine."""
        return family_of(self.diffusion, download=False).load_class()

    @property
    def unconditioned(self) -> dict[str, Any] | None:
        """dict | None: What a model without text is told: nothing, or a class; None where it takes texts."""
        if self.family.has_text:
            return None
        config = denoiser_config(locate(self.diffusion))
        return dict(type='ClassLabel', label=0) if is_told_a_class(config) else dict(type='Prompt')
