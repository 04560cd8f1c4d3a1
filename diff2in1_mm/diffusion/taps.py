"""Which inner activations of a denoiser are features, and how they are collected.

The order of a U-Net's is that of the released Diff-2-in-1 code: encoder, middle block, decoder. A map counts at
the resolution at which its block *ends*: the last layer of a decoder block that has an upsampler is
replaced by the upsampler's output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.hooks import RemovableHandle

from ..utils.errors import UserError
from .attention_maps import attention_probabilities

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


@dataclass(frozen=True)
class Tap:
    """One inner map of a denoiser.

    Attributes:
        name: Path of the module whose output it is, for example ``up_blocks.1.attentions.0``.
        stride: Image pixels per element of the map.
        channels: Channels of the map.
        role: 'encoder', 'middle' or 'decoder'; of a transformer's blocks, which have one stride, 'decoder' is the one
            that is the feature where a config names none, and the others are 'block'. 'raw' is what a block gives,
            a feature only where a config names it.
    """

    name: str
    stride: int
    channels: int
    role: str = 'decoder'

    def to_map(self, output: Any, size: tuple[int, int]) -> Tensor:
        """What the module gives, as a map; families whose blocks give tokens reshape them.

        Args:
            output: Of the module.
            size (tuple[int, int]): Height and width of the padded images, in pixels.

        Returns:
            Tensor: Shape (N, channels, h, w).
        """
        # Transformer blocks of U-Nets answer with a tuple of one.
        return output[0] if isinstance(output, tuple) else output

    def attach(self, module: nn.Module, keep: Callable[[Any], None]) -> RemovableHandle:
        """Have a module tell what it gives.

        Args:
            module (nn.Module): The one of that name.
            keep (Callable): Takes what :meth:`to_map` is to get.

        Returns:
            RemovableHandle: Of the hook.
        """
        return module.register_forward_hook(lambda module, inputs, output: keep(output))


class TokenTap(Tap):
    """What a transformer block takes of the image: its input after LayerNorm, with its own AdaLN scale and shift.

    Few channels of a block's raw output are much larger than all others, whatever the image shows; its AdaLN brings
    them down (Gan et al., NeurIPS 2025: 65 instead of 30 PCK on SPair-71k for FLUX.1). It is what an adaptive norm
    layer gives. Where the sequence holds text too, the image's tokens are its last.
    """

    def to_map(self, output: Any, size: tuple[int, int]) -> Tensor:
        """See :meth:`Tap.to_map`."""
        tokens = output[0] if isinstance(output, tuple) else output
        height, width = (side // self.stride for side in size)
        return tokens[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))


class InputTap(TokenTap):
    """As :class:`TokenTap`, where the block computes it without a module: what its attention gets."""

    def attach(self, module: nn.Module, keep: Callable[[Any], None]) -> RemovableHandle:
        """See :meth:`Tap.attach`."""

        def hook(module, inputs, options):
            keep(inputs[0] if inputs else options['hidden_states'])

        return module.register_forward_pre_hook(hook, with_kwargs=True)


class LeadingTap(InputTap):
    """As :class:`InputTap`, where the image's tokens come first in the sequence."""

    def to_map(self, output: Any, size: tuple[int, int]) -> Tensor:
        """See :meth:`Tap.to_map`."""
        height, width = (side // self.stride for side in size)
        return super().to_map(output[:, : height * width], size)


class RawTap(TokenTap):
    """What a block gives, to compare with: of image and text apart the image, which comes last."""

    def to_map(self, output: Any, size: tuple[int, int]) -> Tensor:
        """See :meth:`Tap.to_map`."""
        return super().to_map(output[-1] if isinstance(output, tuple) else output, size)


class RawLeadingTap(RawTap):
    """As :class:`RawTap`, where the image's tokens come first in the sequence."""

    def to_map(self, output: Any, size: tuple[int, int]) -> Tensor:
        """See :meth:`Tap.to_map`."""
        height, width = (side // self.stride for side in size)
        return super().to_map(output[:, : height * width], size)


def block_taps(
    names: Sequence[str], stride: int, channels: int, kind: type[TokenTap] = TokenTap, default: int | None = None
) -> list[Tap]:
    """Taps of a transformer's blocks: what each takes, then what each gives.

    Args:
        names (Sequence[str]): Paths of a module in each block, in the order of execution, for example of its norm; the
            block is what holds it.
        stride (int): Image pixels per token.
        channels (int): Of a token.
        kind (type[TokenTap]): How a map is had. Default :class:`TokenTap`.
        default (int | None): Number of the block whose map is the feature where a config names none. Default None:
            the middle one, as Gan et al. have it for FLUX.1 (block 28 of 57).

    Returns:
        list[Tap]: Two per block; the raw ones have the names of the blocks.
    """
    default = len(names) // 2 if default is None else default
    taken: list[Tap] = [
        kind(name, stride, channels, 'decoder' if i == default else 'block') for i, name in enumerate(names)
    ]
    raw = RawLeadingTap if issubclass(kind, LeadingTap) else RawTap
    return taken + [raw(name.rpartition('.')[0], stride, channels, 'raw') for name in names]


def unet_taps(unet: UNet2DConditionModel, latent_stride: int) -> list[Tap]:
    """All taps of a U-Net: 25 for Stable Diffusion.

    Args:
        unet (UNet2DConditionModel): The denoiser.
        latent_stride (int): Image pixels per latent element (8 for Stable Diffusion).

    Returns:
        list[Tap]: Encoder, middle block (if there is one), decoder, each in the order of execution.
    """
    stride = latent_stride
    taps = [Tap('conv_in', stride, unet.conv_in.out_channels, 'encoder')]
    for i, block in enumerate(unet.down_blocks):
        path = f'down_blocks.{i}'
        taps += [_layer_tap(block, path, j, stride, 'encoder') for j in range(len(block.resnets))]
        if block.downsamplers is not None:
            stride *= 2
            channels = block.downsamplers[0].out_channels
            taps.append(Tap(f'{path}.downsamplers.0', stride, channels, 'encoder'))
    if unet.mid_block is not None:  # distilled models may have none, as BK-SDM-Small
        taps.append(Tap('mid_block', stride, unet.mid_block.resnets[-1].out_channels, 'middle'))
    for i, block in enumerate(unet.up_blocks):
        layers = [_layer_tap(block, f'up_blocks.{i}', j, stride, 'decoder') for j in range(len(block.resnets))]
        if block.upsamplers is not None:
            stride //= 2
            channels = block.upsamplers[0].out_channels
            layers[-1] = Tap(f'up_blocks.{i}.upsamplers.0', stride, channels, 'decoder')
        taps += layers
    return taps


def _layer_tap(block: Any, path: str, layer: int, stride: int, role: str) -> Tap:
    kind = 'attentions' if hasattr(block, 'attentions') else 'resnets'
    return Tap(f'{path}.{kind}.{layer}', stride, block.resnets[layer].out_channels, role)


def select_taps(taps: Sequence[Tap], choice: str | Sequence[str]) -> list[list[Tap]]:
    """Choose taps and group them by stride.

    Args:
        taps (Sequence[Tap]): Of a model, in the order of execution.
        choice (str | Sequence[str]): ``'decoder'`` for the last map at each stride of the decoder
            (VPD's four on Stable Diffusion), ``'all'`` for every tap (Diff-2-in-1's 25), or names
            of taps.

    Returns:
        list[list[Tap]]: One group per stride, finest first; inside a group the order of ``taps``.

    Raises:
        ValueError: A name is unknown; the message lists the known ones.
    """
    if choice == 'decoder':
        last = {tap.stride: tap for tap in taps if tap.role == 'decoder'}
        chosen = list(last.values())
    elif choice == 'all':
        chosen = [tap for tap in taps if tap.role != 'raw']
    else:
        known = {tap.name for tap in taps}
        unknown = [choice] if isinstance(choice, str) else [n for n in choice if n not in known]
        if unknown or not choice:
            raise UserError(
                f"taps must be 'decoder', 'all' or a list of names of this denoiser's maps, but got "
                f'{unknown or choice}; the names are {sorted(known)}'
            )
        chosen = [tap for tap in taps if tap.name in set(choice)]
    strides = sorted({tap.stride for tap in chosen})
    return [[tap for tap in chosen if tap.stride == stride] for stride in strides]


def level_tensor(level: int | Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Levels of noise on a device: one, without waiting for it, or one per row.

    Args:
        level (int | Sequence[int]): What ``predict`` is told.
        device (torch.device): Of the latents.
        dtype (torch.dtype | None): Default None: int64.

    Returns:
        Tensor: Shape (1,) or (N,).
    """
    if isinstance(level, int):
        # made there: diffusers would copy a number, and wait
        return torch.full((1,), level, device=device, dtype=dtype)
    return torch.tensor(level, device=device, dtype=dtype)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


class FeatureTaps:
    """Context manager that keeps the outputs of named modules during a forward pass.

    Args:
        denoiser (nn.Module): What the taps are of.
        taps (Sequence[Tap | str]): Maps to keep; names stand for those of U-Nets. Of a cross-attention
            layer the probabilities are kept, see :func:`attention_probabilities`.
        size (tuple[int, int]): Height and width of the padded images in pixels, see :meth:`Tap.to_map`.

    Entering gives a dict ``{name: Tensor (N, channels, h, w)}`` that each forward pass fills; those
    of attention layers are (N, h * w, tokens).
    """

    def __init__(self, denoiser: nn.Module, taps: Sequence[Tap | str], size: tuple[int, int] = (0, 0)) -> None:
        self.denoiser = denoiser
        self.taps = [Tap(tap, 0, 0) if isinstance(tap, str) else tap for tap in taps]
        self.size = size
        self._handles: list[Any] = []

    def __enter__(self) -> dict[str, Tensor]:
        from diffusers.models.attention_processor import Attention

        maps: dict[str, Tensor] = {}

        def keep_attention(name):
            def hook(module, inputs, options, output):
                # diffusers' own processor stays, which never holds the probabilities: it is asked
                # for the same layers' projections once more, at the coarse strides only.
                # Gradient checkpointing must not count what is computed here, as it does not run this again.
                with saved_tensors_hooks(_as_it_is, _as_it_is):
                    maps[name] = attention_probabilities(module, inputs[0], options['encoder_hidden_states'])

            return hook

        for tap in self.taps:
            module = self.denoiser.get_submodule(tap.name)
            if isinstance(module, Attention) and module.is_cross_attention and type(tap) is Tap:
                handle = module.register_forward_hook(keep_attention(tap.name), with_kwargs=True)
            else:
                handle = tap.attach(module, partial(self._keep, maps, tap))
            self._handles.append(handle)
        return maps

    def _keep(self, maps: dict[str, Tensor], tap: Tap, output: Any) -> None:
        maps[tap.name] = tap.to_map(output, self.size)

    def __exit__(self, *exception) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
