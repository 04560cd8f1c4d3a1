"""Tunes a U-Net so that clean images give the features of noised ones (CleanDIFT, Stracke et al., CVPR 2025)."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..diffusion.condition import Condition
from ..diffusion.latent_model import LatentModel
from ..diffusion.precision import DTYPES
from ..diffusion.stable_diffusion import LatentDiffusion
from ..diffusion.taps import select_taps
from ..utils.atomic_folders import replace_folder
from ..utils.compat import as_diffusers_writes
from ..utils.errors import UserError
from ..utils.values import check_whole
from .batches import spread_levels
from .denoiser_tuner import DenoiserTuner

_LEVEL_CHANNELS = 256


@MODELS.register_module()
class CleanDistiller(DenoiserTuner):
    """A copy of a U-Net that learns to give, of a clean latent, what the frozen one gives of noised ones.

    At every level of noise: a head per map, which is told the level and is thrown away at the end, makes of the clean
    features those of the level, and the loss is ``1 - cos`` between its output and the frozen U-Net's, at each place.
    Stracke et al. learn the timestep that the copy is told, from 261 on; here it is given, and is to be the
    ``timestep`` of the backbone.

    Args:
        pipeline (str): Stable Diffusion 1.x or 2.x, or a small one of their kind: diffusers folder, hub id or file.
        timestep (int): What the copy is told. Default 1, as ``DiffusionBackbone`` tells it.
        taps (str | Sequence[str]): Maps that are matched: 'all', or names. Default 'middle and decoder': those.
        levels_per_image (int): Noised versions of each image, from as many equal parts of the schedule. Default 3.
        **options: Of :class:`DenoiserTuner`.
    """

    result = 'unet'

    def __init__(
        self,
        pipeline: str,
        timestep: int = 1,
        taps: str | Sequence[str] = 'middle and decoder',
        levels_per_image: int = 3,
        **options: Any,
    ) -> None:
        from diffusers.models.embeddings import TimestepEmbedding, Timesteps

        super().__init__(pipeline, **options)
        check_whole('denoiser.model.levels_per_image', levels_per_image)
        self.pretrained.check_level(timestep, 'denoiser.model.timestep')
        self.timestep, self.levels_per_image = timestep, levels_per_image
        known = self.pretrained.taps()
        if taps == 'middle and decoder':
            taps = [tap.name for tap in known if tap.role != 'encoder']
        chosen = [tap for group in select_taps(known, taps) for tap in group]
        self.taps = [tap.name for tap in chosen]
        self._train_along('full', timestep, self.taps)
        self.level = nn.Sequential(
            Timesteps(_LEVEL_CHANNELS, flip_sin_to_cos=True, downscale_freq_shift=0),
            TimestepEmbedding(_LEVEL_CHANNELS, _LEVEL_CHANNELS),
        )
        self.heads = nn.ModuleList(_Head(tap.channels) for tap in chosen)

    @classmethod
    def load(cls, pipeline: str, dtype: str = 'fp32') -> LatentModel:
        """See :meth:`DenoiserTuner.load`; other families have no place for another U-Net."""
        model = super().load(pipeline, dtype)
        if not isinstance(model, LatentDiffusion):
            raise UserError(
                f'{pipeline} is a {type(model).__name__} model, but clean features are distilled of Stable Diffusion '
                '1.x and 2.x alone, whose U-Net can be replaced (diffusion.unet): set `pretrained` to one of their kind'
            )
        return model

    def loss(self, latents: Tensor, condition: Condition, generator: torch.Generator) -> dict[str, Tensor]:
        """``loss_distil``, ``1 - cos`` of all maps alike: 0 where heads and clean features tell all of the others.

        Args:
            latents (Tensor): Clean ones, shape (N, c, h, w), float32.
            condition (Condition): Of N rows, on the CPU.
            generator (torch.Generator): On the CPU.

        Returns:
            dict[str, Tensor]: And, for the log, ``similarity`` of the maps without heads.
        """
        clean = self.model.predict(latents, self.timestep, condition, self.taps)[1]
        times = self.levels_per_image
        # rising over all rows, so that each image gets one of each part of the schedule
        levels = spread_levels(times * len(latents), self.model.num_train_timesteps, generator)
        noised, _ = self.noised(latents.repeat(times, 1, 1, 1), levels.tolist(), generator)
        told = condition.apply(lambda tensor: torch.cat([tensor] * times))
        noisy = self.pretrained.predict(noised, levels.tolist(), told, self.taps)[1]
        level = self.level(levels.to(latents.device))
        losses, before = [], []
        for name, head in zip(self.taps, self.heads):
            features = clean[name].float().repeat(times, 1, 1, 1)
            losses.append(1 - _similarity(head(features, level), noisy[name]))
            before.append(_similarity(features.detach(), noisy[name]))
        return dict(loss_distil=torch.stack(losses).mean(), similarity=torch.stack(before).mean())

    def save_result(self, folder: str, dtype: str = 'fp32') -> None:
        """Write the U-Net as a folder of its own, replacing an older one as a whole.

        Args:
            folder (str): Target.
            dtype (str): 'fp32', 'fp16' or 'bf16' of the weights on disk. Default 'fp32'.
        """
        unet: Any = self.model.denoiser
        if dtype != 'fp32':
            unet = copy.deepcopy(unet).to(DTYPES[dtype])
        replace_folder(folder, as_diffusers_writes(unet).save_pretrained)


class _Head(nn.Module):
    """From features of a clean image to those of a noised one, at each place alone.

    They are what they were and what an MLP adds to them, whose input the level scales and shifts (FiLM, Perez et al.
    2018). It adds nothing at first.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.modulation = nn.Linear(_LEVEL_CHANNELS, 2 * channels)
        last = nn.Linear(channels, channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(nn.Linear(channels, channels), nn.GELU(), last)

    def forward(self, features: Tensor, level: Tensor) -> Tensor:
        """Features (N, C, h, w) at levels that are embedded in (N, D)."""
        scale, shift = self.modulation(level)[:, None, None].chunk(2, -1)
        points = self.norm(features.movedim(1, -1)) * (1 + scale) + shift
        return features + self.mlp(points).movedim(-1, 1)


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean cosine of the features (N, C, h, w) at each place."""
    return F.cosine_similarity(a.float(), b.float(), dim=1).mean()
