"""What of a diffusion model is in the module tree, and so in optimizers and checkpoints, and what is outside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.model import PretrainedInit, initialize
from torch import Tensor, nn

from ...diffusion.condition import Condition
from ...diffusion.contract import DiffusionModel, same_weights
from ...diffusion.trained import check_heard, restore, trained_part, with_gradients
from ...utils.errors import UserError
from .feature_cache import FeatureCache
from .kept_features import KeptFeatures
from .normalised import Normalised
from .text_adapter import TextAdapter
from .trained_state import check_trained_state, note_factor


class DiffusionHolder(Normalised):
    """A module around a diffusion model that is held *outside* the module tree, but for what of it is trained.

    What is frozen is no parameter, no buffer, not in the ``state_dict`` (a fingerprint of it is), not seen by DDP, and
    in eval mode whatever ``model.train()`` says. ``.to()`` moves it along; where its maps are kept on disk, with the
    first pass, see :meth:`bring_diffusion`. Deep copies share it.

    Attributes:
        diffusion (DiffusionModel): The pretrained model, which generates. Where all of its denoiser is trained, its own
            stays on the CPU.
        perception (DiffusionModel): What gives the maps: the same model, or that with gradients.
        denoiser (nn.Module | None): What is trained of its denoiser, under the denoiser's own names.
        text_adapter (TextAdapter | None): What adapts the condition.
    """

    diffusion: Any
    _kept_channels: dict[str, Any]
    _cache: FeatureCache | None
    perception: Any
    _condition: Condition

    def _hold(self, model: DiffusionModel, condition: Condition, save_frozen: bool) -> None:
        self._set('diffusion', model)
        self._set('perception', model)
        self._set('_condition', condition)
        self.save_frozen = save_frozen
        self.denoiser: nn.Module | None = None
        self.text_adapter: TextAdapter | None = None
        self.register_buffer('frozen_fingerprint', model.fingerprint())

    def _set(self, name: str, value: Any) -> None:
        """Past nn.Module's own __setattr__: see the class's docstring."""
        object.__setattr__(self, name, value)

    def _train_along(
        self, train: str | Mapping | None, text_adapter: bool, with_cp: bool, level: int, taps: Sequence[str]
    ) -> None:
        """Make what is trained of the diffusion model; ``taps`` are the maps that are read, at a level of noise."""
        if train is None and not text_adapter:
            if with_cp:
                raise UserError(
                    'backbone.with_cp=True saves memory where gradients pass the denoiser, and it is frozen: leave it '
                    'out, or set backbone.train or text_adapter'
                )
            return
        self._set('perception', with_gradients(self.diffusion, train, with_cp))
        if text_adapter:
            if not self._condition.sequence.numel():
                raise UserError(
                    f'{self.diffusion.source!r} is told no text that backbone.text_adapter could adapt: leave it out'
                )
            self._set('_condition', self._condition.to(torch.device('cpu'), torch.float32))
            check_heard(self.perception, self._condition, level, taps)
            self.text_adapter = TextAdapter(self._condition.sequence.shape[-1])
        if train is not None:
            self.denoiser = trained_part(self.perception, self._condition, level, taps)

    @property
    def frozen(self) -> bool:
        """bool: Nothing of the diffusion model is trained, or ever was, so that one pass serves both parameter sets."""
        return self.text_adapter is None and self.denoiser is None

    @property
    def told(self) -> Condition:
        """Condition: Of the perception pass, one row."""
        if self.text_adapter is None:
            return self._condition
        return replace(self._condition, sequence=self.text_adapter(self._condition.sequence))

    def init_weights(self) -> None:
        """As ``init_cfg`` says, but what is trained of a diffusion model begins as it was pretrained, here or in the
        checkpoint that ``init_cfg`` names."""
        first = not self.is_init
        super().init_weights()
        if self.denoiser is None or not first:
            return
        restore(self.denoiser, self.diffusion.denoiser)
        settings = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg or []
        initialize(self, [init for init in settings if init['type'] in ('Pretrained', PretrainedInit)])

    def _apply(self, fn, recurse=True):
        """Move what is no submodule along, but for the copy of a denoiser that waits for the next creation, and what
        waits for its first pass."""
        super()._apply(fn, recurse)
        if not (self._may_wait and _only_moves(fn, self.perception)):
            self.perception._apply(fn)
        if self.perception is not self.diffusion and self._shares_weights:
            self.diffusion._apply(fn)  # buffers, which a module replaces; parameters are there already
        self._set('_condition', self._condition.apply(fn))
        return self

    @property
    def _may_wait(self) -> bool:
        """Whether there may be no pass at all: maps are kept, and nothing is trained that makes them."""
        cache: KeptFeatures | None = getattr(self, 'feature_cache', None)
        return cache is not None and cache.keep == 'maps' and self.perception is self.diffusion

    def bring_diffusion(self) -> None:
        """Has the diffusion model where this module is, for a pass; to be called before anything else uses it there.

        Where maps are kept, ``.to(device)`` leaves it where it is (the CPU, when it is loaded): all may be found.
        """
        device = self.frozen_fingerprint.device
        if self.perception is self.diffusion and self.diffusion.device != device:
            self.diffusion.to(device)

    def rest_diffusion(self) -> None:
        """Has the diffusion model wait on the CPU for the next pass, where all maps were found for a while."""
        if self._may_wait and self.diffusion.device.type != 'cpu':
            self.diffusion.to('cpu')

    @property
    def _shares_weights(self) -> bool:
        """Whether the denoiser that generates has the tensors of the one that perceives, as all but 'full' has."""
        frozen = {id(parameter) for parameter in self.perception.denoiser.parameters()}
        return any(id(parameter) in frozen for parameter in self.diffusion.denoiser.parameters())

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.save_frozen:
            self.diffusion.state_dict(destination=destination, prefix=f'{prefix}diffusion.')
        note_factor(self, destination, prefix)

    def _forget_features(self) -> None:
        """What is kept was found with the weights of before."""
        KeptFeatures.forget(self)
        self._kept_channels.clear()
        if self._cache is not None:  # which other backbones may share
            self._cache = FeatureCache(self._cache.max_images)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Check that the checkpoint belongs to this diffusion model, or take the weights in it."""
        stored = [key for key in state_dict if key.startswith(f'{prefix}diffusion.')]
        if stored:
            weights = {key[len(prefix) + len('diffusion.') :]: state_dict.pop(key) for key in stored}
            self.diffusion.load_state_dict(weights)
            if not self._shares_weights:  # what is trained begins as these, or follows in the checkpoint
                self.perception.denoiser.load_state_dict(self.diffusion.denoiser.state_dict())
            self.frozen_fingerprint.copy_(self.diffusion.fingerprint())
            self._forget_features()
        key = f'{prefix}frozen_fingerprint'
        theirs = state_dict.get(key)
        if theirs is not None and not same_weights(theirs.cpu(), self.frozen_fingerprint.cpu()):
            raise UserError(
                'the checkpoint was trained on the features of another diffusion model than '
                f'{self.diffusion.source!r}: set `model.backbone.diffusion` to the model that the '
                "checkpoint's own config names"
            )
        # Ours stays: the same weights in another dtype differ in the last bits.
        state_dict[key] = self.frozen_fingerprint
        check_trained_state(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _only_moves(fn: Callable[[Tensor], Tensor], model: DiffusionModel) -> bool:
    """Whether what is done to the tensors of a model brings them to a GPU or the like, and no more."""
    tensor = torch.zeros(1, dtype=model.dtype, device=model.device)
    done = fn(tensor)
    return done.device != tensor.device and done.device.type != 'cpu' and done.dtype == tensor.dtype
