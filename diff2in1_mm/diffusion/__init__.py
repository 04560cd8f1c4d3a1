"""The latent diffusion model: loading, encoding, noising, denoising, conditions, feature taps.

Knows no task, and of data sets only the class names that ``ClassNames(dataset=...)`` looks up in their registry.
"""

from .attention_maps import attention_layers, mean_attention
from .condition import Condition
from .conditions.class_label import ClassLabel
from .conditions.class_names import ClassNames
from .conditions.clip_texts import TextEmbedder, clip_tokenizer
from .conditions.precomputed import PrecomputedEmbeddings
from .conditions.prompts import Captions, ComposedCaption, OwnCaption, Prompt
from .conditions.restyle import Restyle
from .conditions.source import Source
from .contract import DiffusionModel, same_weights
from .families import load_diffusion
from .padding import crop_to_stride, pad_to_stride
from .schedules import PartialSchedule, check_strength, partial_noise_schedule
from .stable_diffusion import LatentDiffusion
from .taps import FeatureTaps, Tap, select_taps, unet_taps

__all__ = [
    'Captions',
    'ClassLabel',
    'ClassNames',
    'ComposedCaption',
    'Condition',
    'DiffusionModel',
    'FeatureTaps',
    'LatentDiffusion',
    'OwnCaption',
    'PartialSchedule',
    'PrecomputedEmbeddings',
    'Prompt',
    'Restyle',
    'Source',
    'Tap',
    'TextEmbedder',
    'attention_layers',
    'check_strength',
    'clip_tokenizer',
    'crop_to_stride',
    'load_diffusion',
    'mean_attention',
    'pad_to_stride',
    'partial_noise_schedule',
    'same_weights',
    'select_taps',
    'unet_taps',
]
