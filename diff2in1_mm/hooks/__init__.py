"""What a Runner is given beside the model and the data: checkpoints, summary, gallery, bfloat16."""

from .batched_windows import BatchedWindowsHook
from .bf16_optim_wrapper import Bf16OptimWrapper
from .checkpoint import AtomicCheckpointHook, AtomicLocalBackend
from .gallery import GalleryHook
from .summary import RunSummary, SummaryHook

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'BatchedWindowsHook',
    'Bf16OptimWrapper',
    'GalleryHook',
    'RunSummary',
    'SummaryHook',
]
