"""Heads for tasks that MMSegmentation lacks."""

from ...utils.optional import is_installed
from .normal_decoder import NormalDecoder

__all__ = ['NormalDecoder']

if is_installed('mmseg'):
    from .depth_head import DepthHead
    from .fpn_heads import FPNDepthHead, FPNNormalHead
    from .idisc_head import IDiscHead
    from .invpt_head import InvPTHead
    from .normal_head import NormalHead
    from .taskprompter_head import TaskPrompterHead

    __all__ += [
        'DepthHead',
        'FPNDepthHead',
        'FPNNormalHead',
        'IDiscHead',
        'InvPTHead',
        'NormalHead',
        'TaskPrompterHead',
    ]
