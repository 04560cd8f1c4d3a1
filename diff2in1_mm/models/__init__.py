"""What a config builds: backbones, necks, heads, losses and estimators."""
from mmengine.registry import MODELS

from ..optional import is_installed, register_placeholders
from .backbones import DiffusionBackbone
from .diffusion_training import AutoencoderTrainer, DenoiserTrainer
from .losses import MaskedSiLogLoss, MultiscaleNormalLoss, NormalLoss
from .necks import DiffusionAggregator

__all__ = ['AutoencoderTrainer', 'DenoiserTrainer', 'DiffusionAggregator', 'DiffusionBackbone',
           'MaskedSiLogLoss', 'MultiscaleNormalLoss', 'NormalLoss']

_SEG = ('DepthHead', 'DepthMapEstimator', 'FPNDepthHead', 'FPNNormalHead', 'IDiscHead',
        'NormalEstimator', 'NormalHead', 'WeightedCrossEntropyLoss')
if is_installed('mmseg'):
    from .decode_heads import (DepthHead, FPNDepthHead, FPNNormalHead, IDiscHead,  # noqa: F401
                               NormalHead)
    from .losses.weighted_cross_entropy import WeightedCrossEntropyLoss  # noqa: F401
    from .segmentors import DepthMapEstimator, NormalEstimator  # noqa: F401
    __all__ += _SEG
else:
    register_placeholders(MODELS, 'mmseg', *_SEG)
