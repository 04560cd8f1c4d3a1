"""A denoiser that is trained along with heads, wholly or by LoRA, beside the pretrained one that generates."""

import copy
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.errors import NotInstalledError, UserError, first_line, has_no_option
from ..utils.requirements import is_installed
from ..utils.values import check_whole, is_number
from .condition import Condition
from .contract import DiffusionModel
from .latent_model import LatentModel

#: What LoRA adapts where a config names nothing: the projections of attention, as diffusers calls them; the last one is
#: of FLUX.2's single blocks.
LORA_TARGETS = ('to_q', 'to_k', 'to_v', 'to_out.0', 'to_qkv_mlp_proj')


def with_gradients(
    model: DiffusionModel,
    train: str | Mapping[str, Any] | None,
    checkpointing: bool = False,
    setting: str = 'backbone.train',
) -> LatentModel:
    """The same model, but gradients pass its denoiser, a part of which may be trained.

    The model itself stays as it is. Of the new one everything is shared but what is trained: its own float32 copy of
    the denoiser for 'full', and the matrices of LoRA, which changes nothing before its first step (Hu et al. 2022).

    Args:
        model (DiffusionModel): Pretrained.
        train (str | Mapping | None): 'full', ``dict(type='lora', rank=16, alpha=rank, targets=...)`` ('lora' for
            short), or None: only gradients pass.
        checkpointing (bool): Compute inner values of the denoiser's blocks again in the backward pass rather than keep
            them. Default False.
        setting (str): What a config calls ``train``, for messages. Default 'backbone.train'.

    Returns:
        LatentModel: In eval mode like any, so that dropout stays off. What is trained in it has ``requires_grad``.

    Raises:
        ValueError: An option or the model does not fit, LoRA matches nothing, or its family cannot be checkpointed.
        ImportError: peft is missing.
    """
    if not isinstance(model, LatentModel):
        raise UserError(
            f'{type(model).__name__} does not say which of its parts is the denoiser, through which backbone.train and '
            'backbone.text_adapter pass gradients: make it a subclass of LatentModel, or leave these options out'
        )
    if model.dtype == torch.float16:
        raise UserError(
            "gradients vanish in the float16 of diffusion.dtype='fp16', which backbone.train and backbone.text_adapter "
            "pass through it: set it to 'bf16' or 'fp32'; --amp of tools/train.py computes what is trained in half "
            'precision'
        )
    options = dict(train) if isinstance(train, Mapping) else dict(type=train)
    kind = options.pop('type', '')
    if kind not in (None, 'full', 'lora') or (options and kind != 'lora'):
        raise UserError(
            f"backbone.train = {train!r} must be None, 'full', 'lora' or dict(type='lora', rank=16, targets=[...])"
        )
    if kind == 'full':
        denoiser = copy.deepcopy(model.denoiser).float().requires_grad_(True)
    else:
        denoiser = _sharing_copy(model.denoiser)
    if kind == 'lora':
        _add_lora(denoiser, options, setting)
    if checkpointing:
        _checkpoint(denoiser)
    return model.with_denoiser(denoiser)


def _sharing_copy(module: nn.Module) -> nn.Module:
    """Modules of its own around the same tensors."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())})


@dataclass
class _LoRA:
    """Options of LoRA.

    Attributes:
        rank: Of the matrices.
        alpha: What their product is multiplied by, times ``rank``; None: ``rank``.
        targets: The layers that are adapted: ends of their paths, or a pattern of whole ones.
    """

    rank: int = 16
    alpha: float | None = None
    targets: str | Sequence[str] = LORA_TARGETS


def _add_lora(denoiser: nn.Module, options: Mapping[str, Any], setting: str) -> None:
    """Put peft's layers around those that the targets name."""
    unknown = [option for option in options if option not in _LoRA.__dataclass_fields__]
    if unknown:
        raise UserError(has_no_option(_LoRA, unknown[0], f"{setting}=dict(type='lora')"))
    if not is_installed('peft'):
        raise NotInstalledError(f'LoRA ({setting}) needs peft, which is not installed: run `pip install peft`')
    from peft import LoraConfig, inject_adapter_in_model

    lora = _LoRA(**options)
    check_whole(f'{setting}.rank', lora.rank)
    if lora.alpha is not None and (not is_number(lora.alpha, 0) or lora.alpha == 0):
        raise UserError(f'{setting}.alpha = {lora.alpha!r} must be a number above 0, or None for the rank')
    targets = lora.targets
    _check_targets(denoiser, targets, setting)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.rank if lora.alpha is None else lora.alpha,
        target_modules=targets if isinstance(targets, str) else list(targets),
    )
    try:
        inject_adapter_in_model(config, denoiser)
    except ValueError as error:  # a kind of layer that it does not know
        raise UserError(
            f'{setting}.targets = {targets!r} cannot be adapted ({first_line(error)}): name linear layers or '
            'convolutions'
        ) from error
    for parameter in denoiser.parameters():
        if parameter.requires_grad:  # peft makes them in the dtype of what they adapt
            parameter.data = parameter.data.float()
    denoiser.eval()


def _check_targets(denoiser: nn.Module, targets: str | Sequence[str], setting: str) -> None:
    """Name those that match no layer, by peft's own rules; of the default ones it is enough that one does."""
    paths = [path for path, _ in denoiser.named_modules()]
    if isinstance(targets, str):
        try:
            pattern = re.compile(targets)
        except re.error as error:
            raise UserError(f'{setting}.targets = {targets!r} is no regular expression ({error}): mend it') from error
        missing = [] if any(map(pattern.fullmatch, paths)) else [targets]
    elif not isinstance(targets, Sequence) or not all(isinstance(target, str) for target in targets):
        raise UserError(f'{setting}.targets = {targets!r} must be a list of names of layers, or a pattern of paths')
    else:
        missing = [target for target in targets if not any(f'.{path}'.endswith(f'.{target}') for path in paths)]
        if tuple(targets) == LORA_TARGETS and len(missing) < len(targets):
            missing = []
    if missing or not targets:
        linear = sorted({path.rpartition('.')[2] for path, m in denoiser.named_modules() if isinstance(m, nn.Linear)})
        raise UserError(
            f'{setting}.targets: {missing or targets!r} matches no layer of {type(denoiser).__name__}: name ends '
            f'of the paths of its layers (its linear ones end in {", ".join(linear)}), or a pattern of whole paths'
        )


def _checkpoint(denoiser: Any) -> None:
    try:
        denoiser.enable_gradient_checkpointing()
    except ValueError as error:
        raise UserError(
            f'backbone.with_cp=True: {type(denoiser).__name__} cannot compute its blocks again ({first_line(error)}): '
            'leave it out'
        ) from error
    for module in denoiser.modules():
        if hasattr(module, 'gradient_checkpointing'):
            module.training = True  # which diffusers before 0.33 asks for as well; what has dropout is other modules


def trained_part(model: LatentModel, condition: Condition, level: int, taps: Sequence[str] = ()) -> nn.Module:
    """What is trained of a denoiser as a tree of modules of its own, for an optimizer, DDP and checkpoints.

    Weights that no tap depends on, such as those of the last convolution, are frozen and left out: they would never get
    a gradient, which DDP does not allow.

    Args:
        model (LatentModel): Of :func:`with_gradients`.
        condition (Condition): One row.
        level (int): Of noise.
        taps (Sequence[str]): Names of the maps that are read; none: what the denoiser predicts is read. Default ().

    Returns:
        nn.Module: The same parameters under their names in the denoiser.

    Raises:
        ValueError: No trained weight changes these maps.
    """
    reached = _reached(model, condition, level, taps)
    for parameter in model.denoiser.parameters():
        if parameter.requires_grad and id(parameter) not in reached:
            parameter.requires_grad_(False)
    part = _branch(model.denoiser)
    if part is None:
        raise UserError(
            f'backbone.train.targets match no layer of {type(model.denoiser).__name__} before the taps {list(taps)}: '
            'name layers that these maps depend on, or other taps'
        )
    return part


def check_heard(model: LatentModel, condition: Condition, level: int, taps: Sequence[str]) -> None:
    """Name maps that are the same whatever the denoiser is told, from which nothing could be learned about that.

    Args:
        model (LatentModel): Of :func:`with_gradients`.
        condition (Condition): One row.
        level (int): Of noise.
        taps (Sequence[str]): Names of the maps that are read.

    Raises:
        ValueError: None of these maps depends on the tokens of the condition.
    """
    sequence = condition.sequence.detach().clone().requires_grad_()
    if id(sequence) not in _reached(model, replace(condition, sequence=sequence), level, taps):
        raise UserError(
            f'backbone.text_adapter changes what {type(model.denoiser).__name__} is told, but the taps {list(taps)} '
            'come before it is told anything: read other taps, or leave the adapter out'
        )


def _reached(model: LatentModel, condition: Condition, level: int, taps: Sequence[str]) -> set[int]:
    """Ids of the tensors with a gradient that maps (none: the prediction) depend on, by a pass of a small image."""
    with torch.enable_grad():
        latents = model.encode(torch.zeros(1, 3, model.stride, model.stride, device=model.device))
        output, maps = model.predict(latents, level, condition, taps)
    return _leaves(list(maps.values()) or [output])


def _leaves(tensors: Collection[Tensor]) -> set[int]:
    """Ids of the leaves that tensors were computed from, by autograd's graph."""
    nodes, seen, leaves = [tensor.grad_fn for tensor in tensors], set(), set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, 'variable'):
            leaves.add(id(node.variable))
        nodes += [following for following, _ in node.next_functions]
    return leaves


def _branch(module: nn.Module) -> nn.Module | None:
    """A module with the trained parameters of one, at the same paths; None where it has none.

    Layers stay what they are, since optimizers' settings ask for norms and biases by the kind of layer.
    """
    own = {name: p for name, p in module.named_parameters(recurse=False) if p.requires_grad}
    below = {name: found for name, child in module.named_children() if (found := _branch(child)) is not None}
    if not own and not below:
        return None
    if not list(module.children()) and len(own) == len(list(module.parameters())):
        return module
    branch = nn.Module()
    for name, value in chain(own.items(), below.items()):
        setattr(branch, name, value)
    return branch


@torch.no_grad()
def restore(part: nn.Module, pretrained: nn.Module) -> None:
    """Undo what initialisation by type of layer did to a :func:`trained_part`, so that it starts as the pretrained.

    Args:
        part (nn.Module): What is trained.
        pretrained (nn.Module): The denoiser whose features it is to give.
    """
    weights = dict(pretrained.named_parameters())
    for name, parameter in part.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])
        elif '.lora_B.' in name:
            parameter.zero_()


def lora_factor(denoiser: nn.Module) -> tuple[float, int] | None:
    """What the product of LoRA's matrices is multiplied by, which no weight shows, and their rank; None without LoRA.

    Args:
        denoiser (nn.Module): Of a model of :func:`with_gradients`.
    """
    layer: Any = next((module for module in denoiser.modules() if hasattr(module, 'lora_A')), None)
    return None if layer is None else (layer.scaling['default'], layer.r['default'])


@contextmanager
def brought_to(device: torch.device, diffusion: Any) -> Iterator[None]:
    """While active, a model whose pretrained denoiser waits on the CPU (``backbone.train='full'``) is on a device.

    Args:
        device (torch.device): Where it is wanted.
        diffusion (DiffusionModel): The pretrained one.
    """
    home = diffusion.device
    if home == device:
        yield
        return
    diffusion.to(device)
    try:
        yield
    finally:
        diffusion.denoiser.to(home)
