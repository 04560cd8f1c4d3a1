"""Conditions that were embedded elsewhere, read from a file."""

import os.path as osp
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import MODELS
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...utils.errors import UserError, first_line
from ..condition import Condition
from .clip_texts import TextEmbedder
from .path_table import PathTable
from .source import Source


@MODELS.register_module()
class PrecomputedEmbeddings:
    """Embeddings made elsewhere; no text encoder is loaded.

    Args:
        path (str): ``.safetensors`` or ``.npy``. One array (L, C) or (1, L, C) serves every image;
            a safetensors file with several arrays holds one per image, under its file name, as
            :class:`PathTable` takes it.

    Raises:
        ValueError: The file is missing, of another kind or shape, lacks an image, or has different
            arrays for it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.arrays = _read_embeddings(path)
        self.per_image = len(self.arrays) > 1
        self.names = PathTable(path, [(name, name) for name in self.arrays])

    def embed(self, embedder: TextEmbedder | None = None, sources: Sequence[Source] = (Source(),)) -> Condition:
        """The condition of images.

        Args:
            embedder (TextEmbedder | None): Not used.
            sources (Sequence[Source]): n images.

        Returns:
            Condition: Sequence (n, L, C), float32 on the CPU.
        """
        if not self.per_image:
            return Condition(next(iter(self.arrays.values()))[None]).expand(len(sources))
        return Condition.cat([self._of(source) for source in sources])

    def _of(self, source: Source) -> Condition:
        name = self.names.find(source.img_path)
        if name is None:
            raise UserError(
                f'{self.path} has no embedding for {source.stem!r} '
                f'({source.img_path}): add it under the name of the image file'
            )
        return Condition(self.arrays[name][None])


def _read_embeddings(path: str) -> dict[str, Tensor]:
    if not osp.isfile(path):
        raise UserError(f'the embeddings {path!r} do not exist: give a .safetensors or .npy file')
    if not path.endswith(('.npy', '.safetensors')):
        raise UserError(
            f'{path} is a pickle or of an unknown kind where .safetensors or .npy is '
            'expected: save the embeddings with safetensors'
        )
    try:
        if path.endswith('.npy'):
            arrays = {'': torch.from_numpy(np.load(path, allow_pickle=False))}
        else:
            arrays = load_file(path)
    except (EOFError, SafetensorError, TypeError, ValueError) as error:
        raise UserError(f'{path} is no readable array of numbers ({first_line(error)}): save it again') from error
    arrays = {name: array[0] if array.ndim == 3 and len(array) == 1 else array for name, array in arrays.items()}
    wrong = {name: tuple(array.shape) for name, array in arrays.items() if array.ndim != 2}
    if wrong or len({array.shape for array in arrays.values()}) != 1:
        raise UserError(
            f'{path} must hold arrays of one shape (tokens, channels), but has '
            f'{wrong or sorted({tuple(a.shape) for a in arrays.values()})}'
        )
    return {name: array.float() for name, array in arrays.items()}
