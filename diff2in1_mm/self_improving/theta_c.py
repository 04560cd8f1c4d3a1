"""theta_C, the parameter set that creates: labels of synthetic samples, and the final model."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn as nn
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from ..utils.errors import UserError, some

__all__ = ['ThetaC']


class _Slot(NamedTuple):
    """Where one tensor of the model lives. Looked up anew each time: modules rebind buffers."""

    owner: nn.Module
    store: str  # '_parameters' or '_buffers'
    key: str

    @property
    def tensor(self) -> Tensor:
        return getattr(self.owner, self.store)[self.key]


class ThetaC:
    """A second set of values for everything in a model that training changes.

    It holds every parameter with ``requires_grad`` and every buffer (a batch norm's statistics,
    also of modules without parameters). Frozen parameters are not copied, and a parameter that
    several modules share is held once. The values start as the model's own.

    Args:
        model (nn.Module): The model, without wrapper.
        also (Collection[str]): Names of parameters to hold although they are frozen now.

    Raises:
        ValueError: There is no parameter to hold.
    """

    def __init__(self, model: nn.Module, also: Collection[str] = ()) -> None:
        self._model = model
        self._slots, self._aliases, self._temporary = _collect(model, also)
        self._frozen = self._parameters_left_out()
        if not any(slot.store == '_parameters' for slot in self._slots.values()):
            raise UserError(
                f'{type(model).__name__} has no trainable parameter, so there is '
                'nothing for theta_C to average: unfreeze the head.'
            )
        self.tensors = {name: slot.tensor.detach().clone() for name, slot in self._slots.items()}
        self._in_model = False
        # Each process's batch norms saw other images; all must label alike.
        self.average_over_ranks()

    @classmethod
    def restored(cls, model: nn.Module, weights: Mapping[str, Tensor], held: Collection[str]) -> 'ThetaC':
        """The set that a checkpoint has.

        Hooks that freeze or unfreeze modules on the way have not acted yet where a run resumes, so
        what is trainable in ``model`` may be more or less than what the set held.

        Args:
            model (nn.Module): The model, without wrapper.
            weights (Mapping): The checkpoint's ``state_dict``: theta_C, and frozen parameters.
            held (Collection[str]): Names of what is theta_C's in there.

        Raises:
            ValueError: As :meth:`load_state_dict`.
        """
        theta = cls(model, also=held)
        names = sorted({*held, *theta.state_dict()})
        theta.load_state_dict({name: weights[name] for name in names if name in weights})
        return theta

    @property
    def bytes(self) -> int:
        """Memory that theta_C takes beside the model."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    @torch.no_grad()
    def take_up(self) -> list[str]:
        """Holds from now on, with their present values, parameters that have become trainable.

        To be called before the step that changes them first: until then they are the same in both
        sets. No host-device sync; a look at each frozen parameter.

        Returns:
            list[str]: Their names, mostly none.
        """
        if self._in_model or not any(_trainable(slot) for slot in self._frozen):
            return []
        slots, aliases, _ = _collect(self._model, self._aliases)
        new = {name: slot for name, slot in slots.items() if slot.store == '_parameters' and name not in self._slots}
        self._slots.update(new)
        self.tensors.update((name, slot.tensor.detach().clone()) for name, slot in new.items())
        self._aliases.update((name, first) for name, first in aliases.items() if first in new)
        self._frozen = self._parameters_left_out()
        return list(new)

    def _parameters_left_out(self) -> list[_Slot]:
        return [
            _Slot(module, '_parameters', key)
            for module in self._model.modules()
            for key, tensor in module._parameters.items()
            if tensor is not None and not tensor.requires_grad
        ]

    @torch.no_grad()
    def update(self, model: nn.Module, momentum: float) -> None:
        """``theta_C <- (1 - momentum) theta_C + momentum theta_E``, without a host-device sync.

        Integer and boolean buffers are copied. The floating buffers that result are averaged over
        the processes, see :meth:`average_over_ranks`, so all of these have to call this.

        Args:
            model (nn.Module): Holds theta_E.
            momentum (float): Weight of the new value, in (0, 1] (MMEngine's convention; the paper's
                m = 0.998 is ``momentum=0.002``).
        """
        self._check(model)
        if self._in_model:
            raise RuntimeError('theta_C cannot be updated while its values are in the model.')
        source = {name: slot.tensor.detach() for name, slot in self._slots.items()}
        averaged = [n for n, t in source.items() if t.is_floating_point() or t.is_complex()]
        copied = [n for n in source if n not in set(averaged)]
        torch._foreach_lerp_([self.tensors[n] for n in averaged], [source[n] for n in averaged], momentum)
        if copied:
            torch._foreach_copy_([self.tensors[n] for n in copied], [source[n] for n in copied])
        self.average_over_ranks()  # the mean of averages is the average of means

    @torch.no_grad()
    def average_over_ranks(self) -> None:
        """Gives every process the mean of the floating buffers; all have to call this.

        Each process saw other images: batch norms of theta_E in its steps, and theta_C's own where
        it labels in training mode. Parameters are equal already. One process: nothing is done.
        """
        if get_world_size() == 1:
            return
        groups: dict[tuple, list[Tensor]] = {}
        for name, tensor in self.tensors.items():
            buffer = self._slots[name].store == '_buffers' and name not in self._temporary
            if buffer and tensor.is_floating_point():
                groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for tensors in groups.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            all_reduce(flat, 'mean')
            for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors])):
                tensor.copy_(part.view(tensor.shape))

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """While active, ``model`` computes with theta_C. Nothing is copied; pointers are swapped.

        Buffers that the model changes meanwhile are theta_C's; theta_E comes back bit for bit, also
        after an exception.
        """
        self.swap(model)
        try:
            yield
        finally:
            self.swap(model)

    def swap(self, model: nn.Module) -> None:
        """Exchanges the model's values and those held here."""
        self._check(model)
        for name, slot in self._slots.items():
            tensor = slot.tensor
            held = self.tensors[name]
            self.tensors[name] = tensor.data
            tensor.data = held
        self._in_model = not self._in_model
        # autocast keeps half-precision copies by parameter, not by value
        torch.clear_autocast_cache()

    def state_dict(self) -> dict[str, Tensor]:
        """The values under the names of the model's own ``state_dict``, tied ones under each."""
        if self._in_model:
            raise RuntimeError('the values of theta_C are in the model: leave applied() first.')
        return {name: self.tensors[first] for name, first in self._aliases.items() if first not in self._temporary}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over values, as :meth:`state_dict` gives them.

        Raises:
            ValueError: Names or shapes that are not this model's; the sentence names some.
        """
        expected = self.state_dict()
        missing = sorted(set(expected) - set(state))
        unexpected = sorted(set(state) - set(expected))
        if missing or unexpected:
            raise UserError(
                f'the checkpoint does not fit the model: it lacks {some(missing) or "nothing"} and has '
                f'{some(unexpected) or "nothing"} too many; resume with the config it was made with.'
            )
        wrong = [name for name, tensor in state.items() if tensor.shape != expected[name].shape]
        if wrong:
            name = wrong[0]
            raise UserError(
                f'the checkpoint does not fit the model: {name} has shape {tuple(state[name].shape)} there and '
                f'{tuple(expected[name].shape)} here; resume with the config it was made with.'
            )
        for name, tensor in state.items():
            expected[name].copy_(tensor)

    def _check(self, model: nn.Module) -> None:
        if model is not self._model:
            raise UserError(
                'this theta_C belongs to another model; give it the model it was made from, without wrapper.'
            )


def _collect(model: nn.Module, also: Collection[str]) -> tuple[dict[str, _Slot], dict[str, str], set[str]]:
    """The slots by first name, the first name for every name, and what no checkpoint holds.

    Frozen parameters are left out but for those named by ``also``.
    """
    slots: dict[str, _Slot] = {}
    aliases: dict[str, str] = {}
    temporary: set[str] = set()
    first_names: dict[int, str] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for store in ('_parameters', '_buffers'):
            for key, tensor in getattr(module, store).items():
                name = f'{prefix}.{key}' if prefix else key
                if tensor is None or (store == '_parameters' and not tensor.requires_grad and name not in also):
                    continue
                first = first_names.setdefault(id(tensor), name)
                aliases[name] = first
                if first == name:
                    slots[name] = _Slot(module, store, key)
                    if key in module._non_persistent_buffers_set:
                        temporary.add(name)
    return slots, aliases, temporary


def _trainable(slot: _Slot) -> bool:
    tensor = slot.owner._parameters.get(slot.key)  # a module may have dropped it
    return tensor is not None and tensor.requires_grad
