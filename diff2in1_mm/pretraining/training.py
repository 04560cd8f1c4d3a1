"""Training of a latent diffusion model from a folder of images: autoencoder, latents, denoiser."""

from __future__ import annotations

import copy
import hashlib
import os
import os.path as osp
from collections.abc import Callable
from typing import TYPE_CHECKING

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import DATASETS, RUNNERS
from mmengine.runner import Runner
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..creation.stage import together
from ..datasets.image_folder import ImageFolder
from ..datasets.rooms.make import make_rooms
from ..diffusion.loading.embedded import locate
from ..diffusion.loading.folder import load_tokenizer
from ..diffusion.padding import image_stride, latent_stride
from ..utils.atomic_folders import replace_folder
from ..utils.compat import as_diffusers_writes, draw_again_on_resume, leave_optimizer_unfused, leave_state_unfused
from ..utils.configs import type_name
from ..utils.errors import UserError
from ..utils.models import averaged_model
from .autoencoder_trainer import whiten
from .checks import DEFAULTS, SHARED, check_length, check_pretrained, forget_unfinished, stamps
from .encoding import encode_images
from .hooks import SavePipelineHook
from .pipeline_files import load_pipeline, load_vae, new_pipeline, read_configs, save_pipeline
from .tokenizer import check_lengths, cut_tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, StableDiffusionPipeline


class DiffusionTraining:
    """The stages of ``tools/train_diffusion.py``, each kept in the work dir when it is done.

    ``WORK_DIR/autoencoder``: checkpoints, reconstructions and the trained ``vae``.
    ``WORK_DIR/latents.safetensors``: every image encoded once. ``WORK_DIR/denoiser``: checkpoints,
    sample grids and ``start``, the pipeline that training began from. ``WORK_DIR/pipeline``: the
    result, renewed from time to time. Stages of another kind are in :class:`DiffusionTuning`.

    Args:
        cfg (Config): See ``configs/diffusion_camvid.py``.
        resume (bool): Continue what the work dir holds. Default False.

    Raises:
        FileNotFoundError: No images.
        ValueError: Sizes, captions or a pretrained pipeline that do not fit; an autoencoder that
            cannot be trained longer any more; a config of another kind.
    """

    folder = 'ImageFolder'  # the data set of the images

    def __init__(self, cfg: Config, resume: bool = False) -> None:
        if 'images' not in cfg or 'denoiser' not in cfg:
            raise UserError(
                'this config is not about training a diffusion model (it has no '
                '`images` and `denoiser`): begin from configs/diffusion_camvid.py'
            )
        self.cfg = _filled_in(cfg)
        self.resume = resume
        self.work_dir = osp.abspath(cfg.work_dir)
        self.images = dict(cfg.images, data_root=cfg.data_root)
        self._decide_stages()
        self._check_sizes()
        if self.resume and self.trains_autoencoder:
            check_length(cfg)
        if 'rooms' in cfg:  # images that are rendered on first use
            make_rooms(cfg.data_root, **cfg.rooms)
        self.dataset: ImageFolder = DATASETS.build(dict(type=self.folder, **self.images))
        if self.trains_autoencoder:
            view = self._autoencoder_section().train_dataloader.dataset
            ImageFolder(**{key: value for key, value in view.items() if key != 'type'})
        self._check_captions()

    def _decide_stages(self) -> None:
        """What is trained, and from what."""
        self.pretrained: str | None = self.cfg.get('pretrained') and locate(self.cfg.pretrained)
        self.trains_autoencoder: bool = self.cfg.get('train_autoencoder', not self.pretrained)
        if not (self.pretrained or self.trains_autoencoder):
            raise UserError(
                'train_autoencoder=False keeps the autoencoder of `pretrained`, which '
                'the config does not name: set `pretrained`, or drop it'
            )
        if self.trains_autoencoder and 'autoencoder' not in self.cfg:
            raise UserError(
                'train_autoencoder=True needs a section `autoencoder` in the config: '
                'take the one of configs/diffusion_camvid.py'
            )
        self.trains_denoiser: bool = self.cfg.get('train_denoiser', True)
        decoder_alone = self.trains_autoencoder and not self.cfg.autoencoder.model.get('train_encoder', True)
        if not (self.trains_denoiser or self.pretrained and decoder_alone):
            raise UserError(
                'a denoiser that stays needs latents that stay: with train_denoiser=False give `pretrained`, '
                'train_autoencoder=True and autoencoder.model.train_encoder=False'
            )

    def _check_sizes(self) -> None:
        """Name a picture size that the strides do not divide, before any training."""
        if self.pretrained:
            vae, unet = read_configs(self.pretrained)
            check_pretrained(self.pretrained, vae, unet)
        else:
            vae, unet = self.cfg.autoencoder.model.autoencoder, self.cfg.denoiser.unet
        vae_stride = latent_stride(vae)
        stride = image_stride(vae, unet)
        size = self.images.get('size', ())  # where it is missing, the data set says so
        if any(side % stride for side in size):
            raise UserError(
                f'images.size {tuple(size)} must be divisible by {stride}, the stride of autoencoder and U-Net together'
            )
        if not self.trains_autoencoder:
            return
        view, model = self.cfg.autoencoder.train_dataloader.dataset, self.cfg.autoencoder.model
        for crop in (view.get('crop'), model.get('crop')):
            if crop and any(side % vae_stride for side in crop):
                raise UserError(f"the autoencoder's crop {tuple(crop)} must be divisible by {vae_stride}, its stride")

    def _check_captions(self) -> None:
        """Name a caption or prompt that is too long for the text encoder, before any training."""
        texts = [self.cfg.denoiser.model.get('prompt', '')]
        texts += [] if self.cfg.truncate_captions else self.dataset.captions
        texts = [text for text in texts if text]
        if not texts:
            return
        if self.pretrained:
            tokenizer = load_tokenizer(self.pretrained)
            length = tokenizer.model_max_length
        else:
            length = self.cfg.denoiser.text_encoder.get('max_position_embeddings', 77)
            tokenizer = cut_tokenizer(texts, length)
        check_lengths(tokenizer, texts, length)

    def run(self) -> str:
        """Run what is missing.

        Returns:
            str: The diffusers folder.
        """
        if not self.resume:
            with together('a new training'):
                if is_main_process():
                    forget_unfinished(self.work_dir)
        if self.trains_autoencoder:
            self.train_autoencoder()
        start = self.start_pipeline()
        result = self.train_denoiser(start) if self.trains_denoiser else self.keep_denoiser(start)
        for name in self.dataset.skipped:
            print_log(f'Skipped, not readable: {name}', 'current')
        if self.dataset.skipped:
            print_log(f'{len(self.dataset.skipped)} of {len(self.dataset)} images were skipped.', 'current')
        return result

    # ---- the stages ----

    @property
    def vae_folder(self) -> str:
        """str: Where the trained autoencoder lies."""
        return osp.join(self.work_dir, 'autoencoder', 'vae')

    @property
    def result(self) -> str:
        """str: Where the result lies."""
        return osp.join(self.work_dir, 'pipeline')

    @property
    def latents_file(self) -> str:
        """str: Where the latents of all images lie."""
        return osp.join(self.work_dir, 'latents.safetensors')

    def train_autoencoder(self) -> None:
        """Train the autoencoder, then make its latents white; done once per work dir."""
        if self.resume and osp.isfile(osp.join(self.vae_folder, 'config.json')):
            return
        runner = self._runner('autoencoder', self._autoencoder_section())
        runner.train()
        with together('encoding'):
            if is_main_process():
                vae = averaged_model(runner).vae.eval()
                # a pretrained U-Net knows the latents as they are
                if not self.pretrained:
                    self._whiten(vae)
                replace_folder(self.vae_folder, as_diffusers_writes(vae.cpu()).save_pretrained)

    def _whiten(self, vae: AutoencoderKL) -> None:
        """Make the latents of a trained encoder white, and keep them."""
        latents, index = self._encode(lambda images: _means(vae, images))
        mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
        vae.cpu()
        whiten(vae, mean, std)
        if self.cfg.keep_latents:
            latents.sub_(mean[:, None, None]).div_(std[:, None, None])
            self._save_latents(vae, latents, index)

    def start_pipeline(self) -> str:
        """The pipeline that the denoiser's training begins from, and its latents.

        Returns:
            str: Diffusers folder, or the hub id that the config names.
        """
        folder = osp.join(self.work_dir, 'denoiser', 'start')
        start = folder if self.trains_autoencoder else self.pretrained
        assert start is not None  # the config's check: something is trained or pretrained
        with together('encoding'):
            if is_main_process():
                if self.trains_autoencoder and not (self.resume and osp.isdir(folder)):
                    save_pipeline(self._new_pipeline(), folder)
                if self.cfg.keep_latents and self.trains_denoiser:
                    vae = load_vae(start).eval()
                    self._keep_latents(vae, lambda images: _means(vae, images) * vae.config.scaling_factor)
        return start

    def _new_pipeline(self) -> StableDiffusionPipeline:
        """The trained autoencoder with an untrained denoiser, or with the pretrained one."""
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(self.vae_folder)
        if self.pretrained:
            pipeline = load_pipeline(self.pretrained)
            pipeline.register_modules(vae=vae)
            return pipeline
        part = self.cfg.denoiser
        return new_pipeline(
            vae, part.unet, part.text_encoder, part.scheduler, self.dataset.captions, self.cfg.randomness.seed
        )

    def train_denoiser(self, start: str) -> str:
        """Train the denoiser on the kept latents, or on images encoded as they come.

        Args:
            start (str): Pipeline to begin from.

        Returns:
            str: The diffusers folder of the result.
        """
        section = copy.deepcopy(self.cfg.denoiser)
        for key in ('unet', 'text_encoder', 'scheduler'):
            section.pop(key, None)
        section.model.update(pipeline=start)
        section.model.setdefault('seed', self.cfg.randomness.seed)
        self._tell_denoiser(section.model)
        if self.cfg.keep_latents:
            dataset = self._kept_dataset()
        else:
            dataset = dict(type=self.folder, flip=0.5 if self.cfg.mirror else 0.0, **self.images)
        section.train_dataloader.dataset = dataset
        hooks = section.get('custom_hooks') or []
        if not any(type_name(hook) == 'SavePipelineHook' for hook in hooks):
            hooks = [*hooks, dict(type='SavePipelineHook')]
        section.custom_hooks = hooks
        for hook in section.custom_hooks:
            if type_name(hook) == 'SavePipelineHook':
                hook['out_dir'] = self.result
        runner = self._runner('denoiser', section)
        runner.train()
        if not osp.isdir(self.result) and is_main_process():  # a training that had ended, whose result is gone
            next(hook for hook in runner.hooks if isinstance(hook, SavePipelineHook)).write(runner)
        return self.result

    def _kept_dataset(self) -> dict:
        """Config of the data set that serves kept latents."""
        return dict(type='KeptLatents', path=self.latents_file, captions=self.dataset.captions)

    def _tell_denoiser(self, model: ConfigDict) -> None:
        """Fill in what the trainer of the denoiser knows from the images."""
        model.setdefault('train_text_encoder', any(self.dataset.captions))

    def keep_denoiser(self, start: str) -> str:
        """The result of a run that trains the autoencoder alone.

        Args:
            start (str): Pipeline with the trained autoencoder.

        Returns:
            str: The diffusers folder of the result.
        """
        with together('encoding'):
            if is_main_process():
                save_pipeline(load_pipeline(start), self.result)
        return self.result

    # ---- parts ----

    def _runner(self, name: str, section: ConfigDict) -> Runner:
        """A Runner of one stage: its section of the config, and what all stages share."""
        cfg = Config({key: copy.deepcopy(self.cfg[key]) for key in SHARED if key in self.cfg})
        cfg.merge_from_dict({'work_dir': osp.join(self.work_dir, name), 'resume': self.resume})
        for key, value in section.items():
            cfg[key] = value
        leave_optimizer_unfused(cfg.optim_wrapper, get_device())
        for hook in cfg.get('custom_hooks', []):
            if type_name(hook) == 'SampleGridHook':
                hook['dataset'] = dict(type=self.folder, **self.images)
        cfg.experiment_name = f'{osp.basename(self.work_dir)}_{name}'
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        runner.register_hook(_UnfusedHook())
        draw_again_on_resume(runner.train_loop)  # crops and mirroring are drawn with the batches
        return runner

    def _autoencoder_section(self) -> ConfigDict:
        """The config of the first stage, its data set filled in."""
        section = copy.deepcopy(self.cfg.autoencoder)
        if self.pretrained:
            section.model.autoencoder = self.pretrained
        section.model.setdefault('seed', self.cfg.randomness.seed)
        for key, value in self.images.items():
            section.train_dataloader.dataset.setdefault(key, value)
        return section

    def _encode(self, encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Latents of all images, or of enough of them for statistics where none are kept."""
        count = len(self.dataset)
        step = 1 if self.cfg.keep_latents else max(1, count // 1000)
        return encode_images(encode, self.dataset, range(0, count, step), self.cfg.mirror, self.cfg.encode_batch_size)

    def _keep_latents(self, vae: nn.Module | None, encode: Callable[[Tensor], Tensor]) -> None:
        """Encode all images, unless the file already holds what this autoencoder (none: pixels) makes of them."""
        if osp.isfile(self.latents_file):
            with safe_open(self.latents_file, 'pt') as file:
                if (file.metadata() or {}).get('made_of') == self._made_of(vae):
                    return
        if vae is not None:
            vae.to(get_device())
        self._save_latents(vae, *self._encode(encode))

    def _save_latents(self, vae: nn.Module | None, latents: Tensor, index: Tensor) -> None:
        os.makedirs(self.work_dir, exist_ok=True)
        save_file(
            dict(latents=latents.half().contiguous(), index=index),
            self.latents_file + '.tmp',
            metadata=dict(made_of=self._made_of(vae)),
        )
        os.replace(self.latents_file + '.tmp', self.latents_file)

    def _made_of(self, vae: nn.Module | None) -> str:
        """What the latents depend on: weights, files, picture size, mirroring."""
        digest = hashlib.sha256(repr((self.images, self.cfg.mirror, stamps(self.dataset))).encode())
        for name, tensor in sorted(vae.state_dict().items() if vae is not None else ()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class _UnfusedHook(Hook):
    """Lets a checkpoint of a later torch be resumed."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Before the optimizer takes its state."""
        leave_state_unfused(checkpoint.get('optimizer', {}), get_device())


def _filled_in(cfg: Config) -> Config:
    """The config with what it need not say."""
    for key, value in DEFAULTS.items():
        cfg.setdefault(key, value)
    # None would be another number in each run, and a resumed one needs those of the one before
    cfg.merge_from_dict({'randomness.seed': cfg.get('randomness', {}).get('seed') or 0})
    return cfg


def _means(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Posterior means of images in [-1, 1], not scaled."""
    return vae.encode(images.to(next(vae.parameters()).device)).latent_dist.mean
