"""What trainers have in common that tune the denoiser of a pretrained model and keep everything else of it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from ..diffusion.condition import Condition
from ..diffusion.families import load_diffusion
from ..diffusion.latent_model import LatentModel
from ..diffusion.trained import trained_part, with_gradients
from ..utils.errors import UserError
from ..utils.image_values import to_unit_range
from ..utils.values import check_choice
from .batches import step_generator, step_noise


class DenoiserTuner(BaseModel):
    """A pretrained diffusion model, of whose denoiser, or beside it, something is trained; all else is used as it is.

    What is trained is in the module tree, and so in optimizer, DDP and checkpoints; the models are outside. A subclass
    that trains a part of the denoiser calls :meth:`_train_along` when it is built.

    Args:
        pipeline (str): Diffusers folder, hub id or file of the model.
        caption_dropout (float): Share of captions replaced by the empty prompt. Default 0.1.
        seed (int): Noise, levels and dropped captions derive from it and the iteration. Default 0.
        dtype (str): 'fp32' or 'bf16', of all that is frozen. Default 'fp32'.
        gradient_checkpointing (bool): Less memory for more time. Default False.
        data_preprocessor (dict | None): As in MMEngine; moves the batch to the device.

    Attributes:
        result (str): Name of the folder in the work dir that the result is written to.
        folder (str): Registered data set of the images.
        kept (str): That of their kept latents.
        pretrained (LatentModel): As it was loaded.
        model (LatentModel): With what is trained.
        denoiser (nn.Module): What is trained of the denoiser, under its own names.
    """

    result: str
    folder, kept = 'ImageFolder', 'KeptLatents'
    pretrained: Any
    model: Any

    def __init__(
        self,
        pipeline: str,
        caption_dropout: float = 0.1,
        seed: int = 0,
        dtype: str = 'fp32',
        gradient_checkpointing: bool = False,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        # past nn.Module's own __setattr__: no submodule
        object.__setattr__(self, 'pretrained', self.load(pipeline, dtype))
        self.caption_dropout = caption_dropout
        self.seed = seed
        self.gradient_checkpointing = gradient_checkpointing

    def _train_along(self, train: str | Mapping[str, Any], level: int = 1, taps: Sequence[str] = ()) -> None:
        """Make what is trained, see :func:`with_gradients`, for a loss that is of these maps (none: of the prediction).

        What does not change them, asked at one level of noise, is left out.
        """
        condition = self.pretrained.text.embed([''])
        self.pretrained.check_condition(condition)
        model = with_gradients(self.pretrained, train, self.gradient_checkpointing, 'denoiser.model')
        object.__setattr__(self, 'model', model)
        self.denoiser = trained_part(self.model, condition, level, taps)

    @classmethod
    def load(cls, pipeline: str, dtype: str = 'fp32') -> LatentModel:
        """The model that is tuned, or what is wrong with it.

        Args:
            pipeline (str): Diffusers folder, hub id or file.
            dtype (str): As above.

        Raises:
            ValueError: It cannot be loaded, or not be tuned; one sentence says the mend.
        """
        check_choice('denoiser.model.dtype', dtype, ('fp32', 'bf16'))
        model = load_diffusion(pipeline, dtype=dtype)
        if not isinstance(model, LatentModel):
            raise UserError(
                f'{type(model).__name__} does not say which of its parts is the denoiser: make it a subclass of '
                'LatentModel'
            )
        return model

    @classmethod
    def check_options(cls, model: LatentModel, options: Mapping[str, Any]) -> None:
        """Look at settings of ``denoiser.model`` before any work.

        Args:
            model (LatentModel): Of :meth:`load`.
            options (Mapping): Those that are given.

        Raises:
            ValueError: One does not fit the model.
        """

    def forward(
        self,
        latents: Tensor | None = None,
        inputs: Tensor | None = None,
        caption: Sequence[str] | None = None,
        mode: str = 'loss',
        **kwargs,
    ):
        """The loss of a batch.

        Args:
            latents (Tensor | None): Scaled latents, shape (N, c, h, w), kept from earlier.
            inputs (Tensor | None): uint8 RGB images, shape (N, 3, H, W), encoded where there are no latents.
            caption (Sequence[str] | None): N captions. None means empty ones.
            mode (str): Only 'loss'.
            **kwargs: Other fields of the batch; not used.

        Returns:
            dict[str, Tensor]: What :meth:`loss` gives.
        """
        if mode != 'loss':
            raise NotImplementedError(f'{type(self).__name__} trains only; load what it saves')
        if latents is None:
            assert inputs is not None  # one of them is there
            latents = self.model.encode(to_unit_range(inputs))
        generator = step_generator(self.seed, 'denoiser')
        texts = [''] * len(latents) if caption is None else list(caption)
        dropped = torch.rand(len(latents), generator=generator) < self.caption_dropout
        texts = ['' if drop else text for drop, text in zip(dropped.tolist(), texts)]
        return self.loss(latents.float(), self.model.text.embed(texts), generator)

    @abstractmethod
    def loss(self, latents: Tensor, condition: Condition, generator: torch.Generator) -> dict[str, Tensor]:
        """What is trained on.

        Args:
            latents (Tensor): Clean ones, shape (N, c, h, w), float32.
            condition (Condition): Of N rows, on the CPU.
            generator (torch.Generator): On the CPU.

        Returns:
            dict[str, Tensor]: Losses by name.
        """

    @abstractmethod
    def save_result(self, folder: str, dtype: str = 'fp32') -> None:
        """Write what is trained, replacing an older result as a whole.

        Args:
            folder (str): Target.
            dtype (str): 'fp32', 'fp16' or 'bf16' of the weights on disk. Default 'fp32'.
        """

    def noised(self, latents: Tensor, levels: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents (N, c, h, w), each brought to a level of its own, and the noise that was added."""
        noise = step_noise(latents, generator)
        rows = [self.model.add_noise(z, eps, level) for z, eps, level in zip(latents, noise, levels)]
        return torch.stack(rows), noise

    def _apply(self, fn, recurse=True):
        """Move the models along."""
        super()._apply(fn, recurse)
        self.model._apply(fn)
        self.pretrained._apply(fn)
        return self

    def __deepcopy__(self, memo: dict) -> 'DenoiserTuner':
        """Not for an average.

        Raises:
            ValueError: Always.
        """
        raise UserError(
            f'{type(self).__name__} is not averaged: take the EMAHook out of denoiser.custom_hooks (its learning rate '
            'is small, and what is saved is what was trained)'
        )
