"""Trains the denoiser (U-Net, and the text encoder where there are captions)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from ..diffusion.schedules import partial_noise_schedule
from ..utils.compat import as_diffusers_writes, autocast_of_texts
from ..utils.errors import UserError
from ..utils.image_values import to_unit_range
from ..utils.kept import Kept
from ..utils.randomness import sample_noise, seeded_generators
from .batches import spread_levels, step_generator, step_noise
from .pipeline_files import UNCHECKED, load_pipeline, save_pipeline

# Stable Diffusion's embedding of a text takes 236 kB, its token ids 616 bytes.
_KEPT_EMBEDDINGS = 4096
_KEPT_TOKENS = 32768


class _Frozen:
    """Parts that are used but not trained, hidden from ``state_dict``, EMA and DDP.

    The copy that EMA makes of the model shares them.
    """

    vae: Any
    tokenizer: Any
    text_encoder: Any
    scheduler: Any
    embeddings: Any  # kept by text
    tokens: Any

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)

    def __deepcopy__(self, memo: dict) -> '_Frozen':
        return self


@MODELS.register_module()
class DenoiserTrainer(BaseModel):
    """A diffusers pipeline whose U-Net is trained; its autoencoder stays as it is.

    Args:
        pipeline (str): Diffusers folder or hub id to start from.
        train_text_encoder (bool): Also train the text encoder. Default False.
        caption_dropout (float): Share of captions replaced by the empty prompt. Default 0.1.
        prompt (str): What to draw sample grids for. Default ''.
        latent_crop (tuple[int, int] | None): Train on random crops of this height and width, in
            latent elements. None trains on whole latents. Default None.
        latent_crop_iters (int): Crop only before this iteration, so that training ends on whole
            pictures; 0 crops always. Default 0.
        crop_batch_repeat (int): Crops per latent while cropping. Default 1.
        seed (int): Noise, timesteps and crops derive from it and the iteration. Default 0.
        sample_strengths (Sequence[int]): Noise steps of the partial-noise rows of sample grids.
        sample_steps (int): U-Net passes per drawn picture. Default 25.
        channels_last (bool): Memory layout. Default False (on CPUs no faster for U-Nets).
        fused_attention (bool | None): PyTorch's fused attention. None: where there is a GPU. On CPUs
            its backward pass takes more time than plain matrix products over latents as small as
            these (measured: 0.75 s against 0.61 s for a step of the Rooms model). Default None.
        gradient_checkpointing (bool): Less memory for more time. Default False.
        data_preprocessor (dict | None): As in MMEngine; moves the batch to the device.
    """

    def __init__(
        self,
        pipeline: str,
        train_text_encoder: bool = False,
        caption_dropout: float = 0.1,
        prompt: str = '',
        latent_crop: tuple[int, int] | None = None,
        latent_crop_iters: int = 0,
        crop_batch_repeat: int = 1,
        seed: int = 0,
        sample_strengths: Sequence[int] = (200, 400, 600),
        sample_steps: int = 25,
        channels_last: bool = False,
        fused_attention: bool | None = None,
        gradient_checkpointing: bool = False,
        data_preprocessor: dict | None = None,
    ) -> None:
        from diffusers import DDPMScheduler
        from diffusers.models.attention_processor import AttnProcessor

        super().__init__(data_preprocessor=data_preprocessor)
        parts = load_pipeline(pipeline)
        self.unet = parts.unet.train()
        if not (torch.cuda.is_available() if fused_attention is None else fused_attention):
            self.unet.set_attn_processor(AttnProcessor())
        if gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        if channels_last:
            self.unet.to(memory_format=torch.channels_last)
        self.text_encoder = parts.text_encoder.train() if train_text_encoder else None
        self.frozen = _Frozen(
            vae=parts.vae.requires_grad_(False).eval(),
            tokenizer=parts.tokenizer,
            text_encoder=parts.text_encoder.requires_grad_(train_text_encoder),
            scheduler=parts.scheduler,
            embeddings=Kept(_KEPT_EMBEDDINGS),
            tokens=Kept(_KEPT_TOKENS),
        )
        self.noise_schedule = DDPMScheduler.from_config(parts.scheduler.config)
        if self.noise_schedule.config.prediction_type not in ('epsilon', 'v_prediction'):
            raise UserError(
                f'the pipeline predicts {self.noise_schedule.config.prediction_type!r}; '
                'only epsilon and v_prediction can be trained'
            )
        self.caption_dropout = caption_dropout
        self.prompt = prompt
        self.latent_crop = latent_crop
        self.latent_crop_iters = latent_crop_iters
        self.crop_batch_repeat = crop_batch_repeat
        self.seed = seed
        self.sample_strengths = tuple(sample_strengths)
        self.sample_steps = sample_steps

    # ---- training ----

    def forward(
        self,
        latents: Tensor | None = None,
        inputs: Tensor | None = None,
        caption: Sequence[str] | None = None,
        mode: str = 'loss',
        **kwargs,
    ):
        """The denoising loss.

        Args:
            latents (Tensor | None): Scaled latents, shape (N, c, h, w), kept from earlier.
            inputs (Tensor | None): uint8 RGB images, shape (N, 3, H, W), encoded where there are
                no latents.
            caption (Sequence[str] | None): N captions. None means empty ones.
            mode (str): Only 'loss'.
            **kwargs: Other fields of the batch; not used.

        Returns:
            dict[str, Tensor]: ``loss_denoising`` and, for the log, the same on the less and the
            more noised half of the schedule.
        """
        if mode != 'loss':
            raise NotImplementedError(
                'DenoiserTrainer trains only; draw pictures with StableDiffusionPipeline from the saved folder'
            )
        if latents is None:
            assert inputs is not None  # one of them is there
            latents = self.encode(to_unit_range(inputs))
        latents = latents.float()
        caption = [''] * len(latents) if caption is None else list(caption)
        generator = step_generator(self.seed, 'denoiser')
        latents, caption = self._crop(latents, caption, generator)
        noise = step_noise(latents, generator)
        total = self.noise_schedule.config.num_train_timesteps
        timesteps = spread_levels(len(latents), total, generator)
        # decided on the CPU: a look at what is on a GPU would wait for it
        low = timesteps < total // 2
        timesteps = timesteps.to(latents.device)
        dropped = torch.rand(len(latents), generator=generator) < self.caption_dropout
        caption = ['' if drop else text for drop, text in zip(dropped.tolist(), caption)]
        noised = self.noise_schedule.add_noise(latents, noise, timesteps)
        output = self.unet(noised, timesteps, self.embed(caption)).sample.float()
        error = F.mse_loss(output, self._target(latents, noise, timesteps), reduction='none')
        return self._losses(error.mean(dim=(1, 2, 3)), low)

    def _crop(self, latents: Tensor, caption: list[str], generator: torch.Generator) -> tuple[Tensor, list[str]]:
        """Random crops (N * repeat, c, h', w') of latents (N, c, h, w), and their captions."""
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        if self.latent_crop is None or 0 < self.latent_crop_iters <= iteration:
            return latents, caption
        height, width = (min(a, b) for a, b in zip(self.latent_crop, latents.shape[-2:]))
        room = latents.shape[-2] - height + 1, latents.shape[-1] - width + 1
        crops = []
        for latent in latents.repeat(self.crop_batch_repeat, 1, 1, 1):
            top, left = (int(torch.randint(r, (), generator=generator)) for r in room)
            crops.append(latent[:, top : top + height, left : left + width])
        return torch.stack(crops), caption * self.crop_batch_repeat

    def _target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the U-Net shall predict: noise, or v (Salimans & Ho 2022)."""
        if self.noise_schedule.config.prediction_type == 'epsilon':
            return noise
        return self.noise_schedule.get_velocity(latents, noise, timesteps)

    @staticmethod
    def _losses(error: Tensor, low: Tensor) -> dict[str, Tensor]:
        """Of errors (N,), and which of them had little noise (N,), bool on the CPU."""
        losses = dict(loss_denoising=error.mean())
        if low.any() and not low.all():
            share = low.float().to(error.device, non_blocking=True)
            detached = error.detach()
            losses.update(
                low_noise=(detached * share).sum() / share.sum(),
                high_noise=(detached * (1 - share)).sum() / (1 - share).sum(),
            )
        return losses

    # ---- parts ----

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Scaled latents (posterior mean), shape (N, c, h, w), of images in [-1, 1]."""
        vae = self.frozen.vae.to(images.device)
        return vae.encode(images.to(vae.dtype)).latent_dist.mean.float() * vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images in [-1, 1], shape (N, 3, H, W), of scaled latents."""
        vae = self.frozen.vae.to(latents.device)
        return vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample.float().clamp(-1, 1)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Text embeddings, shape (n, L, C); the latest are kept while the text encoder is frozen."""
        if self.text_encoder is not None:
            with autocast_of_texts(self.device.type):
                return self.text_encoder(self._tokens(texts))[0]
        encoder = self.frozen.text_encoder

        @torch.no_grad()
        def encode(missing: list[str]) -> Tensor:
            with autocast_of_texts(self.device.type):
                return encoder.to(self.device).eval()(self._tokens(missing))[0].float().cpu()

        return torch.stack(self.frozen.embeddings.get(texts, encode)).to(self.device)

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        """Token ids, shape (n, L) int64, on the device."""

        def tokenize(missing: list[str]) -> Tensor:
            return self.frozen.tokenizer(
                missing,
                padding='max_length',
                truncation=True,
                return_tensors='pt',
                max_length=self.frozen.text_encoder.config.max_position_embeddings,
            )['input_ids']

        return torch.stack(self.frozen.tokens.get(texts, tokenize)).to(self.device)

    @property
    def device(self) -> torch.device:
        """torch.device: Where the U-Net is."""
        return next(self.unet.parameters()).device

    # ---- what hooks ask for ----

    @torch.no_grad()
    def sample_rows(self, images: Tensor, seed: int) -> dict[str, Tensor]:
        """Pictures for a sample grid: originals, partial-noise variants, and pure samples.

        Args:
            images (Tensor): uint8 RGB, shape (N, 3, H, W).
            seed (int): The noise derives from it, so that grids can be compared over time.

        Returns:
            dict[str, Tensor]: Rows of pictures in [-1, 1] by name.
        """
        generators = seeded_generators(seed, 'grid', samples=range(len(images)))
        latents = self.encode(to_unit_range(images))
        noise = sample_noise(generators, latents)
        rows = {'original': to_unit_range(images), 'decoded': self.decode(latents)}
        top = self.noise_schedule.config.num_train_timesteps - 1
        for strength in (*self.sample_strengths, top):
            start = latents if strength < top else torch.zeros_like(latents)
            name = f'T = {strength}' if strength < top else 'pure noise'
            rows[name] = self.decode(self._denoise(start, noise, strength))
        return rows

    def _denoise(self, latents: Tensor, noise: Tensor, strength: int) -> Tensor:
        """Latents noised to a step and denoised again, all of shape (N, c, h, w)."""
        schedule = partial_noise_schedule(dict(self.noise_schedule.config), strength, min(self.sample_steps, strength))
        embeddings = self.embed([self.prompt] * len(latents))
        start = torch.full((len(latents),), schedule.start, device=latents.device)
        latents = self.noise_schedule.add_noise(latents, noise, start)
        for timestep in schedule.timesteps:
            output = self.unet(latents, timestep, embeddings).sample.float()
            latents = schedule.scheduler.step(output, timestep, latents).prev_sample
        return latents

    def save_result(self, folder: str, dtype: str = 'fp32') -> None:
        """Write the present weights as a diffusers folder, replacing an older one as a whole.

        Args:
            folder (str): Target.
            dtype (str): 'fp32', 'fp16' or 'bf16' of the weights on disk. Default 'fp32'.
        """
        from diffusers import StableDiffusionPipeline

        text_encoder = self.text_encoder or self.frozen.text_encoder
        save_pipeline(
            StableDiffusionPipeline(
                vae=self.frozen.vae,
                text_encoder=text_encoder,
                tokenizer=self.frozen.tokenizer,
                unet=as_diffusers_writes(self.unet),
                scheduler=self.frozen.scheduler,
                **UNCHECKED,
            ),
            folder,
            dtype,
        )
