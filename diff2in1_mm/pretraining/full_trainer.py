"""Trains the whole denoiser of a pretrained model of any family, or of one that begins at random weights."""

import copy
import json
import os
import os.path as osp
import shutil
from typing import Any

from mmengine.registry import MODELS

from ..diffusion.latent_model import LatentModel
from ..diffusion.loading.components import model_index
from ..diffusion.loading.embedded import locate
from ..diffusion.precision import DTYPES
from ..utils.atomic_folders import replace_folder
from ..utils.compat import as_diffusers_writes
from ..utils.errors import UserError
from .prediction_tuner import PredictionTuner


@MODELS.register_module()
class FullTrainer(PredictionTuner):
    """All weights of a denoiser, see :class:`PredictionTuner`; they are trained in float32.

    Args:
        pipeline (str): Diffusers folder, or hub id.
        **options: Of :class:`PredictionTuner`.

    Raises:
        ValueError: ``pipeline`` is a single file, beside which no folder can be written.
    """

    result = 'pipeline'

    def __init__(self, pipeline: str, **options: Any) -> None:
        super().__init__(pipeline, **options)
        self._train_along('full')
        object.__setattr__(self, 'pretrained', self.model)  # the first weights would only take memory on the device

    @classmethod
    def load(cls, pipeline: str, dtype: str = 'fp32') -> LatentModel:
        """See :meth:`DenoiserTuner.load`."""
        if osp.isfile(pipeline):
            raise UserError(
                f'{pipeline} is a single file, and the result is a folder of all parts: write it as one first '
                "(diffusers' `from_single_file(...).save_pretrained(FOLDER)`)"
            )
        return super().load(pipeline, dtype)

    def save_result(self, folder: str, dtype: str = 'fp32') -> None:
        """Write the folder of the model with the trained denoiser.

        The other parts are those of ``pipeline``, their weights as links to the same files where the disk has them.

        Args:
            folder (str): Target; an older one is replaced as a whole.
            dtype (str): 'fp32', 'fp16' or 'bf16' of the denoiser on disk. Default 'fp32'.
        """
        replace_folder(folder, lambda path: self._write(path, dtype))

    def _write(self, path: str, dtype: str) -> None:
        name, source = self.model.denoiser_name, _folder_of(self.pretrained.source)
        index = model_index(source)
        with open(osp.join(path, 'model_index.json'), 'w', encoding='utf-8') as file:
            json.dump(index, file, indent=2)
        for part in index:
            if part != name and osp.isdir(osp.join(source, part)):
                shutil.copytree(osp.join(source, part), osp.join(path, part), copy_function=_link)
        denoiser: Any = self.model.denoiser
        if dtype != 'fp32':
            denoiser = copy.deepcopy(denoiser).to(DTYPES[dtype])
        as_diffusers_writes(denoiser).save_pretrained(osp.join(path, name))


def _folder_of(source: str) -> str:
    """Where the files of a model are: its own folder, or that of what was fetched of a hub id."""
    source = locate(source)
    if osp.isdir(source):
        return source
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.download(source)


def _link(source: str, target: str) -> None:
    """Weights as one file under two names, where the disk can have that; what people may edit is a copy."""
    if not source.endswith('.safetensors'):
        shutil.copy2(source, target)
        return
    try:
        os.link(osp.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)
