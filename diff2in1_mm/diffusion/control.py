"""A branch that makes a U-Net follow pictures, such as label maps (ControlNet, Zhang et al. 2023)."""

import os.path as osp
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.errors import UserError, first_line
from .loading.folder import load_whole

__all__ = ['ControlBranch']

# What of its configuration a branch has in common with the U-Net that it was trained beside.
_COMMON = ('in_channels', 'block_out_channels', 'down_block_types', 'layers_per_block', 'cross_attention_dim')


class ControlBranch(nn.Module):
    """diffusers' ``ControlNetModel``.

    Args:
        network (ControlNetModel): Trained, or in training.
        scale (float): Of what it adds to the U-Net; 1 as it was trained.
        source (str): Where it came from, for messages.
    """

    def __init__(self, network: Any, scale: float = 1.0, source: str = '') -> None:
        super().__init__()
        self.network, self.scale, self.source = network, scale, source

    @classmethod
    def from_pretrained(
        cls,
        source: str,
        dtype: torch.dtype,
        scale: float = 1.0,
        variant: str | None = None,
        revision: str | None = None,
    ) -> 'ControlBranch':
        """Load a folder or a hub id of a ControlNet in the layout of diffusers.

        Args:
            source (str): For example ``'lllyasviel/control_v11p_sd15_seg'``.
            dtype (torch.dtype): Of the U-Net.
            scale (float): See the class.
            variant (str | None): File variant, for example 'fp16'.
            revision (str | None): Commit, branch or tag of a hub id.

        Returns:
            ControlBranch: On the CPU, frozen.

        Raises:
            ValueError: One sentence that names what is wrong with the source and the mend.
        """
        from diffusers import ControlNetModel

        try:
            network = load_whole(ControlNetModel, source, '', torch_dtype=dtype, variant=variant, revision=revision)
        except OSError as error:
            mend = (
                'give the folder that holds its config.json'
                if osp.isdir(source)
                else f'download it once where there is a network (`hf download {source}`), or give a local folder'
            )
            raise UserError(f'the ControlNet {source!r} could not be loaded ({first_line(error)}): {mend}') from error
        return cls(network.eval().requires_grad_(False), scale, source)

    def check_fits(self, unet: Any, latent_stride: int, source: str) -> None:
        """Compare with the U-Net that is to follow it.

        Args:
            unet (UNet2DConditionModel): Of the diffusion model.
            latent_stride (int): Image pixels per latent element.
            source (str): Of the diffusion model, for the message.

        Raises:
            ValueError: It was trained beside another one.
        """
        own, other = self.network.config, unet.config
        for name in _COMMON:
            if _plain(own.get(name)) != _plain(other.get(name)):
                raise UserError(
                    f'the ControlNet {self.source!r} has {name} = {own.get(name)}, but the U-Net of {source!r} '
                    f'{other.get(name)}: give one that was trained for this diffusion model'
                )
        stride = 2 ** (len(own.conditioning_embedding_out_channels) - 1)
        if stride != latent_stride:
            raise UserError(
                f'the ControlNet {self.source!r} takes pictures of {stride} times the size of latents, but those of '
                f'{source!r} have stride {latent_stride}: give one that was trained for this diffusion model'
            )

    def forward(self, pictures: Tensor, latents: Tensor, step: Tensor, sequence: Tensor, **told: Any) -> dict[str, Any]:
        """What is added to the U-Net in one pass.

        Args:
            pictures (Tensor): RGB in [0, 1], shape (N, 3, H, W), padded as the images are.
            latents (Tensor): Noised, (N, c, h, w).
            step (Tensor): Timesteps (N,).
            sequence (Tensor): Text embeddings (N, L, C).
            **told: What else the U-Net is told.

        Returns:
            dict: Arguments of the U-Net's forward.
        """
        dtype = self.network.dtype
        # weights in float32 that are trained beside a U-Net in half precision: as under an autocast to that
        with torch.autocast(latents.device.type, latents.dtype) if dtype != latents.dtype else nullcontext():
            given = (latents.to(dtype), step, sequence.to(dtype), pictures.to(dtype))
            down, middle = self.network(*given, conditioning_scale=self.scale, return_dict=False, **told)
        return dict(
            down_block_additional_residuals=[residual.to(latents.dtype) for residual in down],
            mid_block_additional_residual=middle.to(latents.dtype),
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
