"""Everything that is told before the first iteration."""

from .boxes import check_boxes
from .creation import check_creation
from .inputs import CheckInputsHook, check_inputs
from .label_maps import check_labels

__all__ = ['CheckInputsHook', 'check_boxes', 'check_creation', 'check_inputs', 'check_labels']
