"""Training that tunes the denoiser of a pretrained model of any family, on the kept latents of unlabelled images."""

import os.path as osp
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import is_main_process

from ..creation.stage import together
from ..utils.errors import UserError
from .checks import tuner_of
from .section_options import check_parts
from .training import DiffusionTraining

_TEXTS_AT_ONCE = 64


class DiffusionTuning(DiffusionTraining):
    """The stages where ``denoiser.model`` is a :class:`DenoiserTuner`: latents, then the denoiser.

    ``WORK_DIR/latents.safetensors`` and ``WORK_DIR/denoiser`` as for :class:`DiffusionTraining`; the result is in
    ``WORK_DIR/unet``, ``lora``, ``control`` or ``pipeline`` there, renewed from time to time.
    """

    def _decide_stages(self) -> None:
        """All but the denoiser stays, and latents and texts are the model's own."""
        kind: Any = tuner_of(self.cfg)
        self.kind, self.folder, told = kind, kind.folder, self.cfg.denoiser.model
        self.trains_autoencoder, self.trains_denoiser = False, True
        self.pretrained = self.cfg.get('pretrained')
        if not self.pretrained:
            raise UserError(
                f'{kind.__name__} tunes the denoiser of `pretrained`, which the config does not name: set it to a '
                'diffusers folder or a hub id'
            )
        for key in ('train_autoencoder', 'truncate_captions'):
            if self.cfg.get(key):
                raise UserError(f'{key}=True is not for {kind.__name__}, which tunes a denoiser alone: leave it out')
        self.model: Any = kind.load(self.pretrained, told.get('dtype', 'fp32'))
        kind.check_options(self.model, told)

    def _check_sizes(self) -> None:
        size, stride = self.images.get('size', ()), self.model.stride
        if any(side % stride for side in size):
            raise UserError(f'images.size {tuple(size)} must be divisible by {stride}, the stride of {self.pretrained}')

    def _check_captions(self) -> None:
        self.model.text.check_lengths(self._texts())

    def _texts(self) -> list[str]:
        """All that the denoiser is told in training and in grids of samples, each once."""
        return list(dict.fromkeys(['', self.cfg.denoiser.model.get('prompt', ''), *self.dataset.captions]))

    @property
    def result(self) -> str:
        """str: Where the result lies."""
        return osp.join(self.work_dir, self.kind.result)

    def start_pipeline(self) -> str:
        """Keep latents of all images, and embeddings of all captions.

        Returns:
            str: What the training begins from.
        """
        with together('encoding'):
            if is_main_process():
                if self.cfg.keep_latents:
                    self._keep_latents(self.model.vae, self._latents)
                self._keep_texts()
        self.model = None  # the trainer loads its own
        assert self.pretrained is not None
        return self.pretrained

    def _latents(self, images: torch.Tensor) -> torch.Tensor:
        """Scaled latents of images (n, 3, H, W) in [-1, 1]."""
        return self.model.encode(images.to(get_device() if self.model.vae is not None else 'cpu'))

    def _keep_texts(self) -> None:
        """Have all captions embedded with the text encoder loaded once; they are found again on disk."""
        texts = self._texts()
        with self.model.text.kept():
            for start in range(0, len(texts), _TEXTS_AT_ONCE):
                self.model.text.embed(texts[start : start + _TEXTS_AT_ONCE])

    def _kept_dataset(self) -> dict:
        found = super()._kept_dataset()
        return found if self.kind.kept == found['type'] else dict(found, type=self.kind.kept, images=self.images)

    def _tell_denoiser(self, model: ConfigDict) -> None:
        """A tuner trains no text encoder, and so needs to know nothing of the images."""


def training_of(cfg: Config, resume: bool = False) -> DiffusionTraining:
    """The training that a config is of.

    Args:
        cfg (Config): Of ``tools/train_diffusion.py``.
        resume (bool): Continue what the work dir holds. Default False.

    Returns:
        DiffusionTraining: Checked, about to run.

    Raises:
        FileNotFoundError: No images.
        ValueError: See :func:`check_parts` and :class:`DiffusionTraining`.
    """
    check_parts(cfg)
    return (DiffusionTuning if tuner_of(cfg) else DiffusionTraining)(cfg, resume)
