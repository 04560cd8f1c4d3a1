"""Adapts the denoiser of a pretrained model of any family to images by LoRA (Hu et al. 2022)."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from safetensors.torch import save_file

from ..diffusion.lora import LORA_FILE, lora_weights
from ..diffusion.precision import DTYPES
from ..diffusion.trained import LORA_TARGETS
from ..utils.atomic_folders import replace_folder
from .prediction_tuner import PredictionTuner


@MODELS.register_module()
class LoRATrainer(PredictionTuner):
    """LoRA of a denoiser, see :class:`PredictionTuner`.

    Args:
        pipeline (str): Diffusers folder, hub id or file.
        rank (int): Of the matrices. Default 16.
        alpha (float | None): What their product is multiplied by, times ``rank``; None: ``rank``. Default None.
        targets (str | Sequence[str]): The layers that are adapted, see :func:`with_gradients`. Default: the projections
            of attention.
        **options: Of :class:`PredictionTuner`.
    """

    result = 'lora'

    def __init__(
        self,
        pipeline: str,
        rank: int = 16,
        alpha: float | None = None,
        targets: str | Sequence[str] = LORA_TARGETS,
        **options: Any,
    ) -> None:
        super().__init__(pipeline, **options)
        self._train_along(dict(type='lora', rank=rank, alpha=alpha, targets=targets))

    def save_result(self, folder: str, dtype: str = 'fp32') -> None:
        """Write ``pytorch_lora_weights.safetensors``, which ``load_lora_weights`` of the model's pipeline reads.

        Args:
            folder (str): Target; an older one is replaced as a whole.
            dtype (str): 'fp32', 'fp16' or 'bf16' of the weights on disk. Default 'fp32'.
        """
        weights = {name: weight.to(DTYPES[dtype]) for name, weight in lora_weights(self.model).items()}
        # diffusers asks who wrote the file
        replace_folder(folder, lambda path: save_file(weights, osp.join(path, LORA_FILE), metadata=dict(format='pt')))
