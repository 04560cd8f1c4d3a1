"""The self-improving hook and the parameter set theta_C that it keeps."""

from .bf16_optim_wrapper import Bf16OptimWrapper
from .checkpoint_hook import AtomicCheckpointHook, AtomicLocalBackend
from .gallery_hook import GalleryHook
from .safe_globals import allow_mmengine_checkpoints
from .sample_grid_hook import SampleGridHook
from .save_pipeline_hook import SavePipelineHook
from .self_improving_hook import SelfImprovingHook
from .summary import RunSummary, SummaryHook
from .theta import ThetaC

allow_mmengine_checkpoints()

__all__ = ['AtomicCheckpointHook', 'AtomicLocalBackend', 'RunSummary', 'SelfImprovingHook',
           'SummaryHook', 'ThetaC', 'allow_mmengine_checkpoints']
__all__ += ['Bf16OptimWrapper', 'GalleryHook', 'SampleGridHook', 'SavePipelineHook']
