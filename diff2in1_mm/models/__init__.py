"""What a config builds: backbones, necks, heads, losses and estimators."""

from mmengine.registry import MODELS

from ..utils.optional import is_installed, register_placeholders
from .backbones.diffusion_backbone import DiffusionBackbone
from .losses.balanced_bce_loss import BalancedBCELoss
from .losses.multiscale_normal_loss import MultiscaleNormalLoss
from .losses.normal_loss import NormalLoss
from .losses.silog_loss import MaskedSiLogLoss
from .necks.diffusion_aggregator import DiffusionAggregator

__all__ = [
    'BalancedBCELoss',
    'DiffusionAggregator',
    'DiffusionBackbone',
    'MaskedSiLogLoss',
    'MultiscaleNormalLoss',
    'NormalLoss',
]

_SEG = (
    'BatchedSegTTAModel',
    'DepthHead',
    'DepthMapEstimator',
    'FPNDepthHead',
    'FPNNormalHead',
    'IDiscHead',
    'InvPTHead',
    'MultiTaskEstimator',
    'NormalEstimator',
    'NormalHead',
    'TaskPrompterHead',
    'WeightedCrossEntropyLoss',
)
if is_installed('mmseg'):
    from .decode_heads.depth_head import DepthHead
    from .decode_heads.fpn_heads import FPNDepthHead, FPNNormalHead
    from .decode_heads.idisc_head import IDiscHead
    from .decode_heads.invpt_head import InvPTHead  # noqa: F401
    from .decode_heads.normal_head import NormalHead
    from .decode_heads.taskprompter_head import TaskPrompterHead  # noqa: F401
    from .losses.weighted_cross_entropy import WeightedCrossEntropyLoss  # noqa: F401
    from .segmentors.batched_tta import BatchedSegTTAModel  # noqa: F401
    from .segmentors.depth_estimator import DepthMapEstimator  # noqa: F401
    from .segmentors.multi_task_estimator import MultiTaskEstimator  # noqa: F401
    from .segmentors.normal_estimator import NormalEstimator  # noqa: F401

    __all__ += _SEG
else:
    register_placeholders(MODELS, 'mmseg', *_SEG)
