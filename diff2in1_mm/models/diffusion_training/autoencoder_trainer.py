"""Trains the autoencoder of a latent diffusion model by reconstruction."""
from typing import Dict, List, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from .images import to_unit_range


@MODELS.register_module()
class AutoencoderTrainer(BaseModel):
    """A diffusers ``AutoencoderKL`` with a reconstruction loss.

    The loss compares values and finite differences at several scales: differences keep edges that
    a plain L1 blurs, coarse scales fix colours early. A small KL term leaves some noise in the
    latents, so that the decoder bears the denoiser's errors.

    Args:
        autoencoder (dict): Arguments of ``diffusers.AutoencoderKL``.
        scales (int): Resolutions that are compared, each half the one before. Default 3.
        gradient_weight (float): Weight of the finite differences. Default 1.
        kl_weight (float): Weight of the KL term (mean over latent values). Default 5e-3.
        channels_last (bool): Memory layout; faster on CUDA and, mostly, on CPUs. Default True.
        data_preprocessor (dict | None): As in MMEngine; moves the batch to the device.
    """

    def __init__(self, autoencoder: dict, scales: int = 3, gradient_weight: float = 1.0,
                 kl_weight: float = 5e-3, channels_last: bool = True,
                 data_preprocessor: Optional[dict] = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.vae = AutoencoderKL(**autoencoder)
        if channels_last:
            self.vae.to(memory_format=torch.channels_last)
        self.scales = scales
        self.gradient_weight = gradient_weight
        self.kl_weight = kl_weight

    def forward(self, inputs: Tensor, mode: str = 'tensor',
                **kwargs) -> Union[Dict[str, Tensor], Tensor, List[Tensor]]:
        """Losses, or reconstructions.

        Args:
            inputs (Tensor): uint8 RGB, shape (N, 3, H, W); sides divisible by the stride.
            mode (str): 'loss' gives a dict of losses, 'tensor' the reconstructions in [-1, 1] and
                'predict' a list of them.
            **kwargs: Captions and indices of the data set; not used.

        Returns:
            dict | Tensor | list: See ``mode``.
        """
        images = to_unit_range(inputs)
        if mode == 'loss':
            return self.loss(images)
        with torch.no_grad():
            images = self.vae.decode(self.vae.encode(images).latent_dist.mean).sample.clamp(-1, 1)
        return list(images) if mode == 'predict' else images

    def loss(self, images: Tensor) -> Dict[str, Tensor]:
        """Reconstruction and KL losses.

        Args:
            images (Tensor): RGB in [-1, 1], shape (N, 3, H, W).

        Returns:
            dict[str, Tensor]: ``loss_value``, ``loss_gradient``, ``loss_kl`` and, for the log,
            ``psnr`` (dB, of images in [0, 1]).
        """
        posterior = self.vae.encode(images).latent_dist
        output = self.vae.decode(posterior.sample()).sample.float()
        value, gradient = multiscale_l1(output, images, self.scales)
        # diffusers' kl() sums over each latent: the mean keeps the weight free of the image size
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        error = F.mse_loss(output.detach(), images) / 4  # [-1, 1] is twice as wide as [0, 1]
        return dict(loss_value=value, loss_gradient=self.gradient_weight * gradient,
                    loss_kl=self.kl_weight * kl, psnr=-10 * error.clamp_min(1e-10).log10())

    @torch.no_grad()
    def sample_rows(self, images: Tensor, seed: int) -> Dict[str, Tensor]:
        """Pictures for a sample grid.

        Args:
            images (Tensor): uint8 RGB, shape (N, 3, H, W).
            seed (int): Not used; reconstructions draw no random numbers.

        Returns:
            dict[str, Tensor]: Rows of pictures in [-1, 1] by name.
        """
        return {'original': to_unit_range(images), 'reconstruction': self(images)}


def multiscale_l1(output: Tensor, target: Tensor, scales: int) -> Sequence[Tensor]:
    """L1 of values and of finite differences, averaged over scales.

    Args:
        output (Tensor): Shape (N, 3, H, W).
        target (Tensor): Same shape.
        scales (int): Number of resolutions, each half the one before.

    Returns:
        tuple[Tensor, Tensor]: Scalars: of values, of differences.
    """
    error, values, gradients = output - target, [], []
    for scale in range(scales):
        if scale:
            error = F.avg_pool2d(error, 2)
        values.append(error.abs().mean())
        gradients.append(error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean())
    return sum(values) / scales, sum(gradients) / scales


@torch.no_grad()
def whiten(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Make the latents of an autoencoder zero-mean and unit-variance per channel, exactly.

    The affine map goes into the 1x1 convolutions on both sides of the latents, and the scale
    factor becomes 1, so that the saved autoencoder needs no extra fields (which
    ``StableDiffusionPipeline`` would not read).

    Args:
        vae (AutoencoderKL): Changed in place. Must have ``quant_conv`` and ``post_quant_conv``.
        mean (Tensor): Mean of the present latents (before scaling) per channel, shape (c,).
        std (Tensor): Their standard deviation, shape (c,).

    Raises:
        ValueError: The autoencoder has no ``quant_conv``.
    """
    if vae.quant_conv is None or vae.post_quant_conv is None:
        raise ValueError('whitening needs an autoencoder with use_quant_conv=True and '
                         'use_post_quant_conv=True')
    encode, decode, count = vae.quant_conv, vae.post_quant_conv, len(mean)
    std = std.clamp_min(1e-6)
    # decode first: it needs the old meaning of the latents
    decode.bias += decode.weight[:, :, 0, 0] @ mean
    decode.weight *= std[None, :, None, None]
    encode.weight[:count] /= std[:, None, None, None]
    encode.bias[:count] = (encode.bias[:count] - mean) / std
    encode.bias[count:] -= 2 * std.log()  # the second half is log variances
    vae.register_to_config(scaling_factor=1.0, shift_factor=None)
