"""Trains a control branch, by which a frozen U-Net follows label maps (ControlNet, Zhang et al. 2023)."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor

from ..diffusion.control import ControlBranch
from ..diffusion.latent_model import LatentModel
from ..diffusion.precision import DTYPES
from ..diffusion.trained import with_gradients
from ..utils.atomic_folders import replace_folder
from ..utils.compat import as_diffusers_writes
from ..utils.errors import UserError
from ..utils.values import check_whole
from .prediction_tuner import PredictionTuner

# ControlNet's, for latents of stride 8.
_WIDTHS = (16, 32, 96, 256)


@MODELS.register_module()
class ControlTrainer(PredictionTuner):
    """diffusers' ``ControlNetModel`` beside a U-Net with text, see :class:`PredictionTuner`.

    It begins as a copy of the U-Net's encoder, whose output is multiplied by zero, and is trained in float32; the U-Net
    stays as it is.

    Args:
        pipeline (str): Diffusers folder, hub id or file.
        widths (Sequence[int]): Channels of the layers that bring a picture to the size of the latents: one for each
            halving and one more; of too many the first are taken. Default (16, 32, 96, 256), ControlNet's.
        caption_dropout (float): Share of captions replaced by the empty prompt. Default 0.5, ControlNet's.
        **options: Of :class:`PredictionTuner`.

    Raises:
        ValueError: The model is of a family that follows no pictures.
    """

    result = 'control'
    folder, kept = 'LabelledImageFolder', 'LabelledLatents'

    def __init__(
        self, pipeline: str, widths: Sequence[int] = _WIDTHS, caption_dropout: float = 0.5, **options: Any
    ) -> None:
        from diffusers import ControlNetModel

        super().__init__(pipeline, caption_dropout=caption_dropout, **options)
        self.pretrained.check_condition(self.pretrained.text.embed(['']))
        halvings = _halvings(self.pretrained)
        network = ControlNetModel.from_unet(
            self.pretrained.unet, conditioning_embedding_out_channels=tuple(widths[: halvings + 1])
        )
        self.control = network.float().requires_grad_(True)
        if self.gradient_checkpointing:
            self.control.enable_gradient_checkpointing()
        # past nn.Module's own __setattr__: no submodules, of which the checkpoint would hold the weights twice
        object.__setattr__(self, 'branch', ControlBranch(self.control, source=pipeline))
        model = with_gradients(self.pretrained, None, self.gradient_checkpointing, 'denoiser.model')
        object.__setattr__(self, 'model', model)

    @classmethod
    def load(cls, pipeline: str, dtype: str = 'fp32') -> LatentModel:
        """See :meth:`DenoiserTuner.load`; a control branch is one of a U-Net with text."""
        model = super().load(pipeline, dtype)
        if not (model.has_text and hasattr(model, 'controlled')):
            raise UserError(
                f'{pipeline} is a {type(model).__name__} model, but a control branch is trained beside U-Nets with '
                'text alone: set `pretrained` to a Stable Diffusion 1.x, 2.x or XL'
            )
        if model.denoiser.mid_block is None:
            raise UserError(
                f'the U-Net of {pipeline} has no middle block, as some distilled ones, and a ControlNet has one: set '
                '`pretrained` to the model that it was distilled of'
            )
        return model

    @classmethod
    def check_options(cls, model: LatentModel, options: Mapping[str, Any]) -> None:
        """See :meth:`DenoiserTuner.check_options`."""
        widths, needed = options.get('widths', _WIDTHS), _halvings(model) + 1
        if not isinstance(widths, (list, tuple)) or len(widths) < needed:
            raise UserError(
                f'denoiser.model.widths = {widths!r} must be a list of at least {needed} numbers: one for each time '
                'that a picture is halved, and one more'
            )
        for width in widths:
            check_whole('denoiser.model.widths', width)

    def forward(self, *args: Any, pictures: Tensor | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """The loss of a batch.

        Args:
            *args, **kwargs: See :meth:`DenoiserTuner.forward`.
            pictures (Tensor): What the images are to follow, uint8 RGB, shape (N, 3, H, W), of their size.

        Returns:
            dict[str, Tensor]: What :meth:`PredictionTuner.loss` gives.
        """
        assert pictures is not None  # the data set gives them
        with self._following(pictures):
            return super().forward(*args, **kwargs)

    def sample_rows(self, images: Tensor, seed: int, pictures: Tensor | None = None) -> dict[str, Tensor]:
        """As of :class:`PredictionTuner`; variants follow ``pictures``, uint8 RGB (N, 3, H, W), which have a row."""
        assert pictures is not None
        with self._following(pictures):
            rows = super().sample_rows(images, seed)
        return {'label map': pictures.float() / 127.5 - 1, **rows}

    def _following(self, pictures: Tensor):
        return self.model.controlled(self.branch, pictures.float() / 255)

    def save_result(self, folder: str, dtype: str = 'fp32') -> None:
        """Write the branch as a folder that ``ControlNetModel.from_pretrained`` and ``creation.control`` read.

        Args:
            folder (str): Target; an older one is replaced as a whole.
            dtype (str): 'fp32', 'fp16' or 'bf16' of the weights on disk. Default 'fp32'.
        """
        network: Any = self.control
        if dtype != 'fp32':
            network = copy.deepcopy(network).to(DTYPES[dtype])
        replace_folder(folder, as_diffusers_writes(network).save_pretrained)


def _halvings(model: LatentModel) -> int:
    """How often a picture is halved on its way to the size of the latents."""
    return model.latent_stride.bit_length() - 1
