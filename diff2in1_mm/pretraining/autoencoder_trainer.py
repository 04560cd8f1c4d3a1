"""Trains the autoencoder of a latent diffusion model by reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..utils.errors import UserError
from ..utils.image_values import size_of, to_unit_range
from .batches import step_generator
from .pipeline_files import load_vae

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@MODELS.register_module()
class AutoencoderTrainer(BaseModel):
    """A diffusers ``AutoencoderKL`` with a reconstruction loss.

    The loss compares values and finite differences at several scales: differences keep edges that
    a plain L1 blurs, coarse scales fix colours early.

    Photographs are nearly grey, and a young autoencoder spends all channels on brightness (tried:
    no colour after 500 iterations). So colour has a squared error of its own, the first convolution
    starts with colour enlarged, and the first three latent channels are drawn to the mean
    brightness and colour of their patch. A penalty on correlated channels gives the others other
    things to say, and a small KL term leaves some noise in the latents, so that the decoder bears
    the denoiser's errors; a large one (5e-3 was tried) switches channels off.

    Args:
        autoencoder (dict | str): Arguments of ``diffusers.AutoencoderKL``, or the pipeline
            (diffusers folder or hub id) whose autoencoder is trained on.
        scales (int): Resolutions that are compared, each half the one before. Default 3.
        gradient_weight (float): Weight of the finite differences. Default 1.
        square_weight (float): Weight of the squared error of values. Once colours are right it
            raises the PSNR several times as fast as the other terms (measured on Rooms: by 0.7
            instead of 0.1 dB in two hundred iterations). Default 0.
        color_weight (float): Weight of the squared error of colour. Default 20.
        anchor_weight (float | None): Weight of the first three channels' anchors. None: 0.2 for a new
            autoencoder, 0 for one that is trained on, whose latents a U-Net knows as they are.
        correlation_weight (float | None): Weight of the mean squared correlation between latent
            channels. None: 0.1 for a new autoencoder, else 0.
        kl_weight (float | None): Weight of the KL term (mean over latent values). None: 3e-4 for a
            new autoencoder, else 0.
        latent_noise (float): Each image's latents get noise of a deviation drawn from 0 to this, in
            units of the channel's own: the decoder learns to bear a denoiser's errors, which it
            otherwise shows as blotches. Default 0.
        train_encoder (bool): False trains the decoder alone, so that latents, and a denoiser of
            them, stay what they are. Default True.
        crop (tuple[int, int] | None): Height and width of a random crop of each batch, in pixels:
            many small steps learn faster at first. None trains on whole batches. Default None.
        crop_iters (int): Crop only before this iteration; 0 crops always. Default 0.
        seed (int): The noise of the latents derives from it and the iteration. Default 0.
        channels_last (bool): Memory layout; faster on CUDA and, mostly, on CPUs. Default True.
        data_preprocessor (dict | None): As in MMEngine; moves the batch to the device.
    """

    def __init__(
        self,
        autoencoder: dict | str,
        scales: int = 3,
        gradient_weight: float = 1.0,
        square_weight: float = 0.0,
        color_weight: float = 20.0,
        anchor_weight: float | None = None,
        correlation_weight: float | None = None,
        kl_weight: float | None = None,
        latent_noise: float = 0.0,
        train_encoder: bool = True,
        crop: tuple[int, int] | None = None,
        crop_iters: int = 0,
        seed: int = 0,
        channels_last: bool = True,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        if isinstance(autoencoder, str):
            self.vae = load_vae(autoencoder)
        else:
            from diffusers import AutoencoderKL

            self.vae = AutoencoderKL(**autoencoder)
            enlarge_color(self.vae.encoder.conv_in)
        if not train_encoder:
            for part in (self.vae.encoder, self.vae.quant_conv):
                if part is not None:  # use_quant_conv=False
                    part.requires_grad_(False)
        if channels_last:
            self.vae.to(memory_format=torch.channels_last)
        self.scales = scales
        self.gradient_weight = gradient_weight
        self.square_weight = square_weight
        self.color_weight = color_weight
        new = not isinstance(autoencoder, str)
        self.anchor_weight = 0.2 * new if anchor_weight is None else anchor_weight
        self.correlation_weight = 0.1 * new if correlation_weight is None else correlation_weight
        self.kl_weight = 3e-4 * new if kl_weight is None else kl_weight
        self.latent_noise = latent_noise
        self.crop = crop
        self.crop_iters = crop_iters
        self.seed = seed

    def forward(self, inputs: Tensor, mode: str = 'tensor', **kwargs) -> dict[str, Tensor] | Tensor | list[Tensor]:
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

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """Reconstruction and KL losses.

        Args:
            images (Tensor): RGB in [-1, 1], shape (N, 3, H, W).

        Returns:
            dict[str, Tensor]: ``loss_value``, ``loss_gradient``, ``loss_square``, ``loss_color``,
            ``loss_anchor``, ``loss_correlation``, ``loss_kl`` and, for the log, ``psnr`` (dB, of
            images in [0, 1]).
        """
        generator = step_generator(self.seed, 'autoencoder')
        images = self._crop(images, generator)
        posterior = self.vae.encode(images).latent_dist
        latents = posterior.sample(generator)
        if self.latent_noise:
            latents = latents + self._noise(latents, generator)
        output = self.vae.decode(latents).sample.float()
        error = output - images
        value, gradient = multiscale_l1(error, self.scales)
        color = error - error.mean(dim=1, keepdim=True)
        # L1 is content with grey (the median), a square is not
        color = (color.square().mean() + F.avg_pool2d(color, 4).square().mean()) / 2
        # diffusers' kl() sums over each latent: the mean keeps the weight free of the image size
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        square = error.square().mean()
        squared = square.detach() / 4  # [-1, 1] is twice as wide as [0, 1]
        return dict(
            loss_value=value,
            loss_gradient=self.gradient_weight * gradient,
            loss_square=self.square_weight * square,
            loss_color=self.color_weight * color,
            loss_anchor=self.anchor_weight * anchor_error(posterior.mean, images),
            loss_correlation=self.correlation_weight * channel_correlation(posterior.mean),
            loss_kl=self.kl_weight * kl,
            psnr=-10 * squared.clamp_min(1e-10).log10(),
        )

    def _noise(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Noise for latents (N, c, h, w), each image's of a strength of its own."""
        strength = self.latent_noise * torch.rand(len(latents), 1, 1, 1, generator=generator)
        noise = strength * torch.randn(latents.shape, generator=generator)
        return noise.to(latents) * latents.detach().std(dim=(0, 2, 3), keepdim=True)

    def _crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The same random crop of all images of a batch (N, 3, H, W)."""
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        if self.crop is None or 0 < self.crop_iters <= iteration:
            return images
        height, width = self.crop
        top = int(torch.randint(images.shape[-2] - height + 1, (), generator=generator))
        left = int(torch.randint(images.shape[-1] - width + 1, (), generator=generator))
        return images[..., top : top + height, left : left + width]

    @torch.no_grad()
    def sample_rows(self, images: Tensor, seed: int) -> dict[str, Tensor]:
        """Pictures for a sample grid.

        Args:
            images (Tensor): uint8 RGB, shape (N, 3, H, W).
            seed (int): Not used; reconstructions draw no random numbers.

        Returns:
            dict[str, Tensor]: Rows of pictures in [-1, 1] by name.
        """
        return {'original': to_unit_range(images), 'reconstruction': self(images)}


def multiscale_l1(error: Tensor, scales: int) -> tuple[Tensor, Tensor]:
    """L1 of values and of finite differences, averaged over scales.

    Args:
        error (Tensor): Shape (N, C, H, W).
        scales (int): Number of resolutions, each half the one before.

    Returns:
        tuple[Tensor, Tensor]: Scalars: of values, of differences.
    """
    values, gradients = [], []
    for scale in range(scales):
        if scale:
            error = F.avg_pool2d(error, 2)
        values.append(error.abs().mean())
        gradients.append(error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean())
    return torch.stack(values).mean(), torch.stack(gradients).mean()


@torch.no_grad()
def enlarge_color(convolution: nn.Conv2d, gain: float = 8.0) -> None:
    """Let a first convolution see deviations from grey ``gain`` times as large.

    Args:
        convolution (nn.Conv2d): On RGB; its initial weights are changed in place.
        gain (float): About the ratio of the deviations of brightness and colour. Default 8.
    """
    grey = torch.full((3, 3), 1 / 3)
    mixing = grey + gain * (torch.eye(3) - grey)
    convolution.weight.copy_(torch.einsum('oihw,ij->ojhw', convolution.weight, mixing))


def anchor_error(latents: Tensor, images: Tensor) -> Tensor:
    """How far the first three latent channels are from brightness and colour of their patches.

    Args:
        latents (Tensor): Shape (N, c, h, w), c >= 3.
        images (Tensor): RGB in [-1, 1], shape (N, 3, H, W).

    Returns:
        Tensor: Mean squared error, scalar. The targets have about unit variance on photographs.
    """
    patches = F.adaptive_avg_pool2d(images, size_of(latents))
    brightness = patches.mean(dim=1, keepdim=True)
    color = ((patches - brightness)[:, [0, 2]] / 0.06).clamp(-4, 4)
    target = torch.cat([brightness / 0.5, color], dim=1)
    return F.mse_loss(latents[:, :3].float(), target)


def channel_correlation(latents: Tensor) -> Tensor:
    """Mean squared correlation between different channels, over a batch.

    Args:
        latents (Tensor): Shape (N, c, h, w), c > 1.

    Returns:
        Tensor: Scalar in [0, 1].
    """
    with torch.autocast(latents.device.type, enabled=False):
        values = latents.float().transpose(0, 1).flatten(1)
        values = F.normalize(values - values.mean(dim=1, keepdim=True), dim=1)
        correlation = values @ values.T
    count = len(correlation)
    return (correlation.square().sum() - correlation.diagonal().square().sum()) / (count * max(count - 1, 1))


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
        raise UserError('whitening needs an autoencoder with use_quant_conv=True and use_post_quant_conv=True')
    encode, decode, count = vae.quant_conv, vae.post_quant_conv, len(mean)
    std = std.clamp_min(1e-6)
    # decode first: it needs the old meaning of the latents
    decode.bias += decode.weight[:, :, 0, 0] @ mean
    decode.weight *= std[None, :, None, None]
    encode.weight[:count] /= std[:, None, None, None]
    encode.bias[:count] = (encode.bias[:count] - mean) / std
    encode.bias[count:] -= 2 * std.log()  # the second half is log variances
    vae.register_to_config(scaling_factor=1.0, shift_factor=None)
