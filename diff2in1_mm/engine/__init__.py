"""The self-improving hook and the parameter set theta_C that it keeps."""

from .checkpoint_hook import AtomicCheckpointHook, AtomicLocalBackend
from .safe_globals import allow_mmengine_checkpoints

allow_mmengine_checkpoints()

__all__ = ['AtomicCheckpointHook', 'AtomicLocalBackend', 'allow_mmengine_checkpoints']
