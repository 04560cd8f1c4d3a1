"""Reads checkpoints without running what they hold, and says whether they fit and can be resumed."""

import glob
import io
import os.path as osp
import re
from collections import OrderedDict
from typing import Any

from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.model import BaseModel, BaseTTAModel, is_model_wrapper
from mmengine.runner import CheckpointLoader

from ..utils.compat import load_weights_only
from ..utils.errors import MissingFileError, NotAFileError, UnusableFileError, UserError, first_line, some

__all__ = [
    'WeightsTakenHook',
    'check_checkpoint',
    'check_resumable',
    'check_some_fit',
    'load_weights',
    'newest_checkpoint',
    'read_checkpoint',
]

# What a model does well without, or a checkpoint may hold beside it: counters of batches, constants
# that the model makes itself, heads that only training has, averages that others kept inside.
_FREE = re.compile(
    r'^data_preprocessor\.|^auxiliary_head\.|^ema_|'
    r'(^|\.)(num_batches_tracked|relative_position_index)$'
)

# Names that MMEngine looks up in tables of published weights; it reads those of torch's hub by torch's own means.
_NAMED = ('torchvision://', 'modelzoo://', 'open-mmlab://', 'openmmlab://', 'mmcls://')


def check_checkpoint(
    path: str, mend: str = 'give a file that tools/train.py wrote (WORK_DIR/last_checkpoint names the latest)'
) -> None:
    """Whether there is such a file; what another machine holds (``s3://``) is not looked at.

    Args:
        path (str): As the user gave it.
        mend (str): What to give where there is none.

    Raises:
        FileNotFoundError: There is none.
        IsADirectoryError: It is a folder; names the newest checkpoint in it.
    """
    if '://' in path or osp.isfile(path):
        return
    if not osp.isdir(path):
        raise MissingFileError(f'the checkpoint {path} does not exist: {mend}')
    newest = newest_checkpoint(path)
    raise NotAFileError(
        f'{path} is a folder, not a checkpoint: give '
        + (f'the newest one in it, {newest}' if newest else 'a file (.pth); there is none in it')
    )


def newest_checkpoint(folder: str) -> str | None:
    """The ``.pth`` of a folder that was written last, None where there is none."""
    return max(glob.glob(osp.join(glob.escape(folder), '*.pth')), key=osp.getmtime, default=None)


def read_checkpoint(path: str) -> dict:
    """The content of a checkpoint; tensors of local files are read when they are needed.

    Raises:
        ValueError: It is no checkpoint, is damaged, or holds objects that could run code.
    """
    try:
        if '://' in path:
            content = _read_remote(path)
        else:
            content = load_weights_only(path, 'cpu', mmap=_is_zip(path))
    except OSError as error:  # no permission, a disk that fails, a server that does not answer
        raise UnusableFileError(f'{path} cannot be read ({first_line(error)}): see to that, or give another') from error
    except Exception as error:  # torch raises several kinds on foreign files
        foreign = ('://' in path or _is_zip(path)) and 'eights only' in str(error)
        raise UserError(
            f'{path} cannot be read as a checkpoint of MMEngine ('
            + (
                'it holds Python objects beside weights, which could run code'
                if foreign
                else first_line(error)
                if '://' in path
                else 'it is damaged'
                if _is_zip(path)
                else 'it is no file of torch.save, or damaged'
            )
            + '): give one that tools/train.py wrote'
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get('state_dict', {}), dict):
        raise UserError(
            f'{path} cannot be read as a checkpoint of MMEngine (it holds no weights '
            'by name): give one that tools/train.py wrote'
        )
    return content


def check_resumable(content: dict, path: str) -> None:
    """Whether a run can go on from a checkpoint, which takes more than weights.

    Args:
        content (dict): Of :func:`read_checkpoint`.
        path (str): Where it comes from, for the message.

    Raises:
        UserError: It does not say at which epoch and iteration it was written, or has no log history.
    """
    meta = content.get('meta')
    lacking = [f'meta.{key}' for key in ('epoch', 'iter') if not isinstance(meta, dict) or key not in meta]
    lacking += [key for key in ('state_dict', 'message_hub') if key not in content]
    if lacking:
        raise UserError(
            f'{path} cannot be resumed, as it lacks {", ".join(lacking)}: give a checkpoint that tools/train.py wrote, '
            'or begin a new run from its weights by load_from, without --resume'
        )


def _read_remote(path: str) -> Any:
    """What a remote checkpoint holds: bytes of a file client (``s3://``, ``http://``), never code."""
    if path.startswith(_NAMED):
        return CheckpointLoader.load_checkpoint(path, map_location='cpu')
    return load_weights_only(io.BytesIO(get(path)), 'cpu')


def _is_zip(path: str) -> bool:
    """Whether a local file is what ``torch.save`` has written since torch 1.6."""
    if not osp.isfile(path):
        return False
    with open(path, 'rb') as file:
        return file.read(4) == b'PK\x03\x04'


def load_weights(model: BaseModel, content: dict, path: str) -> None:
    """Give a model the weights of a checkpoint, all of them.

    MMEngine only warns of what does not fit, and goes on with random weights in its place. Frozen
    weights of diffusion models are not in checkpoints, and not missed.

    Args:
        model (BaseModel): Of the config; wrapped or not.
        content (dict): Of :func:`read_checkpoint`.
        path (str): Where it comes from, for the message.

    Raises:
        ValueError: Weights are missing, of another shape, or without a place in the model.
    """
    model = _without_wrappers(model)
    weights = content.get('state_dict', content)
    state: Any = OrderedDict((key.removeprefix('module.'), value) for key, value in weights.items())
    if hasattr(weights, '_metadata'):
        state._metadata = weights._metadata
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a line for each weight of another shape
        faults = [line.strip()[:200].rstrip('. ') for line in str(error).splitlines()[1:]]
        _refuse(path, some(faults or [first_line(error)], 1))
    for what, keys in (('Missing', missing), ('Unexpected', unexpected)):
        keys = [key for key in keys if not _FREE.search(key)]
        if keys:
            _refuse(path, f'{what} key(s): {some(keys)}')


def check_some_fit(model: BaseModel, content: dict, path: str) -> None:
    """Whether a run that starts from other weights takes any of them.

    MMEngine loads what has a place and warns of the rest, as is right for a pretrained backbone or new classes; where
    nothing has a place, the run would start from random weights.

    Args:
        model (BaseModel): Of the config; wrapped or not.
        content (dict): What MMEngine has read.
        path (str): Where it comes from, for the message.

    Raises:
        ValueError: No weight has the name and shape of one of the model.
    """
    own, weights = _without_wrappers(model).state_dict(), content.get('state_dict', content)
    for key, value in weights.items():
        place = own.get(key.removeprefix('module.'))
        if place is not None and place.shape == getattr(value, 'shape', None) and not _FREE.search(key):
            return
    raise UserError(
        f'{path} is of another model: nothing that it holds ({some(weights) or "it is empty"}) has a place in the '
        "model of the config; give load_from a checkpoint of this model, or a backbone's weights as its init_cfg"
    )


class WeightsTakenHook(Hook):
    """Looks at the checkpoint of ``load_from`` as MMEngine has read it, see :func:`check_some_fit`."""

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume:
            check_some_fit(runner.model, checkpoint, runner._load_from)


def _without_wrappers(model: BaseModel) -> BaseModel:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _refuse(path: str, why: str) -> None:
    raise UserError(f'{path} does not fit the model of the config ({why}): give the config that it was trained with')
