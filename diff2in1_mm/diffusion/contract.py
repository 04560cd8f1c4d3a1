"""The contract of a diffusion model: what perception and generation ask of it, whatever its family."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.errors import UserError
from ..utils.values import is_whole
from .condition import Condition
from .precision import DTYPES
from .schedules import PartialSchedule
from .taps import Tap

_FINGERPRINT_VALUES_PER_TENSOR = 8


class DiffusionModel(nn.Module, ABC):
    """A pretrained diffusion model, frozen: always in eval mode, never with a gradient.

    Images are RGB in [-1, 1], shape (N, 3, H, W), of any size: a family pads them to :attr:`stride`. Its levels of
    noise are whole numbers from 0 (almost clean) below :attr:`num_train_timesteps`: timesteps of a U-Net, thousandths
    of sigma for flow matching. Autocast does not apply inside.

    A family is one file with a subclass, and one line in :data:`~diff2in1_mm.diffusion.families.FAMILIES`.

    Attributes:
        source (str): Where the weights came from, for messages and records.
        schedule (dict): What its noise schedule is, for records of generated data.
        text: Embeds texts: ``embed(texts)`` gives a :class:`Condition`, ``negative(text)`` one row that guidance leads
            away from, ``averaged(groups)`` a vector per group, ``check_lengths(texts)`` raises for too long ones, and
            inside ``kept()`` the text encoder stays loaded; see :class:`TextEmbedder`.
        few_steps (int | None): Passes that a distilled model was made for, where a config names none. Default None.
        has_text (bool): Whether it is told texts, which guidance follows. Default True.
        dtypes (tuple[str]): In which it computes right. Default all.
        usual_side (int): Of images that such models are made for, where a folder does not say it. Default 512.
    """

    few_steps: int | None = None
    has_text: bool = True
    dtypes: tuple[str, ...] = tuple(DTYPES)
    usual_side: int = 512

    source: str
    schedule: dict[str, Any]
    text: Any

    @classmethod
    @abstractmethod
    def from_pretrained(cls, source: str, dtype: str = 'fp32') -> 'DiffusionModel':
        """Load a folder, a hub id or a file.

        Args:
            source (str): What the user wrote.
            dtype (str): 'fp32', 'fp16' or 'bf16', of all frozen parts. Default 'fp32'.

        A family may have further options, which a config gives beside these.

        Returns:
            DiffusionModel: On the CPU.

        Raises:
            ValueError: One sentence that names what is wrong with the source and the mend.
        """

    @classmethod
    def check_source(cls, source: str) -> None:
        """Look at a source without loading weights; a family that can tell nothing from files says nothing.

        Raises:
            ValueError: It cannot be loaded.
        """

    @property
    def device(self) -> torch.device:
        """torch.device: Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """torch.dtype: Of the frozen parts."""
        return next(self.parameters()).dtype

    @property
    @abstractmethod
    def stride(self) -> int:
        """int: What image sides are padded to, in pixels."""

    @property
    @abstractmethod
    def num_train_timesteps(self) -> int:
        """int: Number of noise levels."""

    @property
    def can_decode(self) -> bool:
        """bool: Whether latents can be made images."""
        return True

    @abstractmethod
    def taps(self) -> list[Tap]:
        """list[Tap]: Every inner map that can be a feature, in the order of execution."""

    def attention_layers(self) -> dict[int, list[str]]:
        """dict[int, list[str]]: Layers whose attention to the tokens of the condition :meth:`predict` can give, as
        (N, h * w, tokens), by image pixels per element; none in most families."""
        return {}

    @abstractmethod
    def encode(
        self, images: Tensor, generators: Sequence[torch.Generator] | None = None, scaled: bool = True
    ) -> Tensor:
        """Images to latents.

        Args:
            images (Tensor): RGB in [-1, 1], shape (N, 3, H, W).
            generators (Sequence[torch.Generator] | None): One per image, to sample the posterior. None takes its mean.
            scaled (bool): Scale to about unit variance, as the denoiser knows them. Default True.

        Returns:
            Tensor: Of the padded images, N rows.
        """

    @abstractmethod
    def decode(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        """Latents to images.

        Args:
            latents (Tensor): Scaled, N rows.
            size (tuple[int, int]): Height and width to crop to, in pixels.

        Returns:
            Tensor: RGB clamped to [-1, 1], float32, shape (N, 3, H, W).
        """

    @abstractmethod
    def add_noise(self, latents: Tensor, noise: Tensor, level: int) -> Tensor:
        """Bring latents to a level of noise.

        Args:
            latents (Tensor): Clean ones.
            noise (Tensor): Standard normal, same shape.
            level (int): One for the whole batch.

        Returns:
            Tensor: In the dtype of ``latents``.
        """

    def target(self, latents: Tensor, noise: Tensor, level: int) -> Tensor:
        """What the denoiser was trained to predict of :meth:`add_noise` of the same arguments.

        Args:
            latents (Tensor): Clean ones.
            noise (Tensor): Standard normal, same shape.
            level (int): One for the whole batch.

        Raises:
            ValueError: The family does not say it.
        """
        raise UserError(
            f'{type(self).__name__} does not say what its denoiser is trained to predict, so that it cannot be trained '
            'on: give it a method `target`'
        )

    @abstractmethod
    def noise_ratio(self, level: int) -> float:
        """Noise over signal of a level: the factors of noise and latents in :meth:`add_noise`."""

    def level_at(self, ratio: float) -> int:
        """The level of about the same noise as one of another family.

        Args:
            ratio (float): Noise over signal, above 0.

        Returns:
            int: Whose :meth:`noise_ratio` is nearest, in logarithms; at least 1.
        """
        return min(
            range(1, self.num_train_timesteps),
            key=lambda level: abs(math.log(max(self.noise_ratio(level), 1e-9) / ratio)),
        )

    @abstractmethod
    def predict(
        self, latents: Tensor, timestep: int | Sequence[int], condition: Condition, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One pass of the denoiser.

        Args:
            latents (Tensor): Noised, N rows.
            timestep (int | Sequence[int]): Their level, or that of a step of :meth:`partial_schedule`; several: one
                per row.
            condition (Condition): Of N rows, or one for all.
            taps (Sequence[str]): Names of :meth:`taps` and :meth:`attention_layers` to keep.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: What the scheduler of :meth:`partial_schedule` takes, and the kept maps
            (N, C, h, w) by name, of the padded images.
        """

    @abstractmethod
    def partial_schedule(self, T: int, steps: int, solver: str = 'dpmsolver++') -> PartialSchedule:
        """How a latent that was noised to level ``T`` is denoised.

        Args:
            T (int): Level at which it starts.
            steps (int): About so many passes.
            solver (str): One of :data:`~diff2in1_mm.diffusion.schedules.SOLVERS`, or of ``FLOW_SOLVERS`` for flow
                matching. Default 'dpmsolver++'.

        Raises:
            ValueError: ``T`` or ``steps`` is out of range, or the family has no such solver.
        """

    @abstractmethod
    def check_condition(self, condition: Condition) -> None:
        """Compare a condition with what the denoiser takes.

        Raises:
            ValueError: It does not fit.
        """

    def check_level(self, level: int, name: str = 'timestep') -> None:
        """Name a level of noise that the model does not have.

        Args:
            level (int): What a config says.
            name (str): How it is called there. Default 'timestep'.

        Raises:
            ValueError: No whole number, or outside ``[0, num_train_timesteps - 1]``.
        """
        if not is_whole(level, 0) or level >= self.num_train_timesteps:
            raise UserError(
                f'{name} = {level!r} is out of range: a whole number between 0 and '
                f'{self.num_train_timesteps - 1} (small values keep the most detail)'
            )

    def check_finite(self, what: str, tensors: Iterable[Tensor]) -> None:
        """Stop what would be trained on nothing.

        Args:
            what (str): What the model gave, for the message.
            tensors (Iterable[Tensor]): It.

        Raises:
            ValueError: Some values are no numbers, as some models give in half precision.
        """
        if all(bool(tensor.isfinite().all()) for tensor in tensors):
            return
        mend = (
            "load it with dtype='bf16' or 'fp32', whose range is larger than that of fp16 "
            '(model.backbone.diffusion.dtype)'
            if self.dtype == torch.float16
            else 'its weights are damaged, fetch it again or take another model'
        )
        raise UserError(f'{self.source!r} gives {what} that are not numbers in {self.dtype}: {mend}')

    def __deepcopy__(self, memo: dict) -> 'DiffusionModel':
        """Frozen and shared: a copy of the model around it (``EMAHook``) keeps this one."""
        return self

    def freeze(self) -> None:
        """No gradient, and eval mode; what a family ends its ``__init__`` with."""
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> 'DiffusionModel':
        """Frozen means frozen: stays in eval mode, whatever ``model.train()`` asks for."""
        return self

    def fingerprint(self) -> Tensor:
        """A short vector that tells one set of weights from another.

        A few evenly spaced values of every tensor, so that comparing with a tolerance recognises the same weights in
        another dtype.

        Returns:
            Tensor: float32 on the CPU, shape (values,).
        """
        return _values_of(self)

    def digest(self, part: nn.Module | None = None) -> str:
        """Hash of :meth:`fingerprint`, for records of generated data.

        Args:
            part (nn.Module | None): Of that part alone. Default None: of all.
        """
        return hashlib.sha256(_values_of(part or self).numpy().tobytes()).hexdigest()[:16]


def _values_of(module: nn.Module) -> Tensor:
    picks = []
    for _, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        count = min(_FINGERPRINT_VALUES_PER_TENSOR, flat.numel())
        index = torch.linspace(0, flat.numel() - 1, count, dtype=torch.float64).long()
        picks.append(flat[index.to(flat.device)].float())
    return torch.cat(picks).cpu()


def same_weights(a: Tensor, b: Tensor, tolerance: float = 2**-7) -> bool:
    """Whether two fingerprints belong to the same weights, in whatever dtype.

    Value by value, since a distance over all of them would see nothing but the weights of norms,
    which are near 1.

    Args:
        a (Tensor): A fingerprint.
        b (Tensor): Another.
        tolerance (float): Largest relative difference of a value. Default 2^-7, twice what rounding
            to bfloat16 gives at worst.

    Returns:
        bool: False also for different architectures.
    """
    if a.shape != b.shape:
        return False
    smallest = 1e-6  # float16 keeps values near zero by their absolute size
    return bool(((a - b).abs() <= tolerance * b.abs() + smallest).all())
