"""Everything that depends on the version of a library.

Each function names the versions that make it necessary.
"""

import codecs
import contextlib
import copy
import functools
import importlib.metadata
import json
import os
import pickle
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from packaging.version import Version

from .errors import NotInstalledError
from .quiet_libraries import no_bar_of_weights
from .requirements import uses_forks


def _adafactor(params: Iterable, *args: Any, **kwargs: Any) -> Any:
    from transformers import Adafactor

    return Adafactor(params, *args, **kwargs)


def import_optimizers_alone() -> None:
    """Imports MMEngine's optimizers without transformers, half of the time of all other imports.

    MMEngine imports transformers (and that peft) for one optimizer, ``Adafactor``. It is registered
    here under this name, and imported when a config asks for it. Where either was imported before,
    nothing is left to save.
    """
    if 'mmengine.optim' in sys.modules or 'transformers' in sys.modules:
        return
    # Python's own way to say: as if it were not installed
    sys.modules['transformers'] = None  # type: ignore[assignment]
    try:
        optim = importlib.import_module('mmengine.optim')
    finally:
        del sys.modules['transformers']
    if 'Adafactor' not in optim.OPTIMIZERS:
        optim.OPTIMIZERS.register_module(name='Adafactor', module=_adafactor)


def default_store() -> torch.distributed.Store:
    """Keys and values that all processes of a run see, without the time limit of collective operations."""
    return torch.distributed.distributed_c10d._get_default_store()


_NUMERIC_DTYPES = (
    'Bool',
    'Int8',
    'Int16',
    'Int32',
    'Int64',
    'UInt8',
    'UInt16',
    'UInt32',
    'UInt64',
    'Float16',
    'Float32',
    'Float64',
)


def _history_statistic(owner: Any, name: str) -> Any:
    """What ``getattr`` may do in a checkpoint: name a statistic of :class:`HistoryBuffer`.

    A pickled ``HistoryBuffer`` refers to its methods as ``getattr(HistoryBuffer, 'mean')``. The
    builtin itself would open every attribute of every allowed class to a hostile file.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise ValueError(
        f'the checkpoint asks for the attribute {name!r} of {owner!r}, which no '
        'checkpoint of MMEngine does: do not load it.'
    )


@functools.cache
def _safe_globals() -> dict[str, Any]:
    """What MMEngine's own checkpoints hold beside tensors, by the name that a file has for it.

    That is: log histories (``HistoryBuffer``, their numpy arrays and scalars) and nested parts of
    a data set's meta information (``ConfigDict``).
    """
    numpy: Any = np
    multiarray = (numpy._core if Version(np.__version__) >= Version('2') else numpy.core).multiarray
    allowed: dict[str, Any] = {'builtins.getattr': _history_statistic}
    for part in (HistoryBuffer, ConfigDict, np.ndarray, np.dtype):
        allowed[f'{part.__module__}.{part.__name__}'] = part
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # files travel between numpy 1 and 2
        allowed[f'{module}._reconstruct'] = multiarray._reconstruct
        allowed[f'{module}.scalar'] = multiarray.scalar
    for name in _NUMERIC_DTYPES:
        allowed[f'numpy.dtypes.{name}DType'] = getattr(np.dtypes, f'{name}DType')
    return allowed


#: torch 2.6 and later take names of their own for what a file may hold; torch 2.1 to 2.3 rebuild no objects at all
_TORCH_ALLOWS_NAMES = Version(torch.__version__) >= Version('2.6.dev0')


def allow_mmengine_checkpoints() -> None:
    """Adds to ``torch.serialization`` what MMEngine's own checkpoints hold beside tensors.

    Calling it again changes nothing. Before torch 2.6 nothing is to be done: see :func:`load_weights_only`.
    """
    if _TORCH_ALLOWS_NAMES:
        torch.serialization.add_safe_globals([(part, name) for name, part in _safe_globals().items()])


class _SafeUnpickler(pickle.Unpickler):
    """Names only what torch's own ``weights_only`` allows, and :func:`_safe_globals`."""

    def find_class(self, module: str, name: str) -> Any:
        full = f'{module}.{name}'.replace('__builtin__.', 'builtins.', 1)  # as torch.save names it
        for known in (_safe_globals(), torch._weights_only_unpickler._get_allowed_globals()):
            if full in known:
                return known[full]
        part = getattr(torch, name, None) if module == 'torch' else None
        if isinstance(part, torch.dtype) or full == '_codecs.encode':  # bytes of numpy's scalars
            return part or codecs.encode
        raise pickle.UnpicklingError(f'Weights only: the file asks for {full}, which is none of them')


class _SafePickle:
    """What ``torch.load`` takes as a ``pickle_module``."""

    __name__ = 'pickle'
    Unpickler = _SafeUnpickler

    @staticmethod
    def load(file: Any, **kwargs: Any) -> Any:
        return _SafeUnpickler(file, **kwargs).load()


def load_weights_only(file: Any, map_location: Any = None, mmap: bool | None = None) -> Any:
    """``torch.load(weights_only=True)`` that reads MMEngine's checkpoints with torch 2.1 to 2.5, too.

    Args:
        file (Any): Path, or a file of bytes.
        map_location (Any): As in ``torch.load``.
        mmap (bool | None): Whether tensors of a file are read when they are needed.

    Returns:
        Any: The content.

    Raises:
        pickle.UnpicklingError: It holds other objects, which could run code.
    """
    if _TORCH_ALLOWS_NAMES:
        return torch.load(file, map_location, weights_only=True, mmap=mmap)
    if isinstance(file, os.PathLike):  # torch 2.1 takes only text where it is to map a file
        file = os.fspath(file)
    _refuse_torchscript(file)
    # torch's own restricted unpickler takes no further names there; ours takes its names and those of MMEngine
    return torch.load(file, map_location, _SafePickle(), weights_only=False, mmap=mmap)


def _refuse_torchscript(file: Any) -> None:
    """torch below 2.6 hands programs to ``torch.jit``, whatever it was told of weights.

    Raises:
        pickle.UnpicklingError: The file is one.
    """
    position = file.tell() if hasattr(file, 'tell') else None
    try:
        with zipfile.ZipFile(file) as archive:
            is_program = any(name.endswith('/constants.pkl') for name in archive.namelist())
    except zipfile.BadZipFile:  # the format of before torch 1.6
        is_program = False
    if position is not None:
        file.seek(position)
    if is_program:
        raise pickle.UnpicklingError('Weights only: the file is a TorchScript program')


def let_mmengine_read_weights_only() -> None:
    """onedl-mmengine (0.10.8 to 0.10.12) reads checkpoints by :func:`load_weights_only`.

    Its own reader unpickles whatever ``weights_only`` refuses, and takes :class:`HistoryBuffer` from torch's list of
    allowed classes when it is done. The stock MMEngine leaves it to torch, which since 2.6 reads weights only.
    """
    reader: Any = importlib.import_module('mmengine.runner.checkpoint')
    if hasattr(reader, '_safe_torch_load'):
        reader._safe_torch_load = lambda file, map_location=None, weights_only=None: load_weights_only(
            file, map_location
        )


def let_configs_name_forks() -> None:
    """``_base_ = 'mmseg::...'`` of a config finds onedl-mmsegmentation, too.

    onedl-mmengine (0.10.8 to 0.10.12) looks for a distribution named mmsegmentation, as the stock one does, and says
    that it is not installed. Where there is no distribution of a name, both look for the module.
    """
    if uses_forks():
        importlib.import_module('mmengine.config.utils').MODULE2PACKAGE['mmseg'] = 'mmseg'


def draw_again_on_resume(loop: Any) -> None:
    """Lets a resumed iteration-based loop draw the past batches again, as the stock MMEngine does.

    onedl-mmengine (since 0.10.12) moves the sampler on instead, so that a data set which counts what is drawn of it
    would not know.

    Args:
        loop (Any): The training loop, before it runs.
    """
    iterator: Any = getattr(loop, 'dataloader_iterator', None)

    def draw(count: int) -> None:
        for _ in range(count):
            next(iterator)

    if hasattr(iterator, 'skip_iter'):
        iterator.skip_iter = draw


def class_weights_skip_ignored_pixels(avg_non_ignore: bool = False) -> bool:
    """Whether MMSegmentation's cross entropy takes class weights together with ignored pixels.

    MMSegmentation 1.2 looks up the weight of the ignored label and fails; onedl-mmsegmentation (1.3 to 1.4.2) leaves it
    out, but fails with ``avg_non_ignore``, on any pixels.
    """
    from mmseg.models.losses.cross_entropy_loss import cross_entropy

    labels = torch.tensor([[[0, 255]]])
    try:
        cross_entropy(
            torch.zeros(1, 2, 1, 2), labels, class_weight=torch.ones(2), ignore_index=255, avg_non_ignore=avg_non_ignore
        )
    except IndexError:
        return False
    return True


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """The dtype of autocast on a kind of device, None where it is off. torch 2.4 has one function for all kinds."""
    if Version(torch.__version__) >= Version('2.4'):
        return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None
    if device_type == 'cpu':
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def leave_optimizer_unfused(optim_wrapper: dict, device_type: str) -> None:
    """Takes ``fused`` from an optimizer's config where torch has no such kernels: before 2.4 on CPUs.

    Args:
        optim_wrapper (dict): Of a config; changed in place.
        device_type (str): Where the parameters will be.
    """
    if _lacks_fused_optimizers(device_type):
        optim_wrapper.get('optimizer', {}).pop('fused', None)


def leave_state_unfused(state: Mapping[str, Any], device_type: str) -> None:
    """The same of an optimizer's state in a checkpoint that a later torch wrote.

    Args:
        state (Mapping): Of ``state_dict()``; changed in place.
        device_type (str): Where the parameters are.
    """
    for group in state.get('param_groups', []) if _lacks_fused_optimizers(device_type) else []:
        if group.get('fused'):
            group['fused'] = None


def _lacks_fused_optimizers(device_type: str) -> bool:
    return device_type == 'cpu' and Version(torch.__version__) < Version('2.4')


def autocast_of_texts(device_type: str) -> contextlib.AbstractContextManager:
    """Around text encoders: torch before 2.4 casts no attention masks on CPUs, so that these stay in float32 there."""
    early = device_type == 'cpu' and Version(torch.__version__) < Version('2.4')
    return torch.autocast('cpu', enabled=False) if early else contextlib.nullcontext()


def _is_before(distribution: str, version: str) -> bool:
    return Version(importlib.metadata.version(distribution)) < Version(version)


def dtype_option(kind: Any, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """How ``from_pretrained`` of a class is told the dtype: transformers 4.56 and later call it ``dtype``."""
    new = kind.__module__.startswith('transformers') and not _is_before('transformers', '4.56')
    return {'dtype' if new else 'torch_dtype': dtype}


def from_pretrained(kind: Any, *args: Any, **options: Any) -> Any:
    """``kind.from_pretrained``, which tells what was missing or of another shape.

    diffusers before 0.33 raises errors of its own instead, unless weights are copied; several files are only taken
    the other way.
    """
    if kind.__module__.startswith('diffusers') and _is_before('diffusers', '0.33'):
        with contextlib.suppress(TypeError, AttributeError):
            return kind.from_pretrained(*args, low_cpu_mem_usage=False, **options)
    with no_bar_of_weights(kind):
        return kind.from_pretrained(*args, **options)


def as_diffusers_writes(model: Any) -> Any:
    """What ``save_pretrained`` takes of a model: diffusers before 0.33 writes no weights in channels_last.

    Returns:
        Any: The model itself, or a copy of it with contiguous weights.
    """
    if not _is_before('diffusers', '0.33') or all(weight.is_contiguous() for weight in model.parameters()):
        return model
    return copy.deepcopy(model).to(memory_format=torch.contiguous_format)


def settle_sample_size(unet: Any) -> None:
    """Makes ``sample_size`` of a U-Net the larger side: diffusers 0.31 builds no pipeline where it has two."""
    size = unet.config.sample_size
    if _is_before('diffusers', '0.32') and not isinstance(size, int):
        unet.register_to_config(sample_size=max(size))


def require_diffusers(version: str, what: str) -> None:
    """Stops where a part needs a later diffusers than the package does.

    Raises:
        ImportError: One sentence with the command that installs it.
    """
    if _is_before('diffusers', version):
        found = importlib.metadata.version('diffusers')
        raise NotInstalledError(
            f"{what} needs diffusers>={version} but found diffusers {found}: run `pip install 'diffusers>={version}'`."
        )


def clip_tokenizer_class() -> Any:
    """CLIP's tokenizer that reads ``tokenizer.json``: in transformers 5 there is one, in 4 the "fast" of two."""
    import transformers

    return transformers.CLIPTokenizerFast if _is_before('transformers', '5') else transformers.CLIPTokenizer


def new_clip_tokenizer(vocabulary: list[str], merges: list[tuple[str, str]], max_length: int) -> Any:
    """A tokenizer of CLIP's kind. transformers 4 takes the vocabulary as files only.

    Args:
        vocabulary (list[str]): The tokens, by number.
        merges (list[tuple[str, str]]): Which pairs become a token, the first ones first.
        max_length (int): Tokens that the text encoder takes.
    """
    numbers = {token: number for number, token in enumerate(vocabulary)}
    if not _is_before('transformers', '5'):
        return clip_tokenizer_class()(vocab=numbers, merges=merges, model_max_length=max_length)
    with tempfile.TemporaryDirectory() as folder:
        vocab, merged = Path(folder, 'vocab.json'), Path(folder, 'merges.txt')
        vocab.write_text(json.dumps(numbers), encoding='utf-8')
        merged.write_text('\n'.join(['#version: 0.2', *map(' '.join, merges)]), encoding='utf-8')
        return clip_tokenizer_class()(str(vocab), str(merged), model_max_length=max_length)


def clip_text_model() -> Any:
    """CLIP's text encoder, which reads files of all versions of transformers.

    In 5.6 its weights lost the prefix ``text_model.``. Later versions take it away; earlier ones add it to those of
    ``base_model_prefix``.
    """
    from transformers import CLIPTextModel

    if _is_before('transformers', '5.6'):
        CLIPTextModel.base_model_prefix = 'text_model'
    return CLIPTextModel
