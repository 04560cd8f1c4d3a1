"""Checkpoints that survive ``kill -9`` at any moment."""

import contextlib
import functools
import os
import os.path as osp
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from ..utils.atomic_files import remove_leftovers, write_atomic, writing
from ..utils.errors import UnusableFileError, first_line

__all__ = ['AtomicCheckpointHook', 'AtomicLocalBackend']


class AtomicLocalBackend(LocalBackend):
    """MMEngine's local files, each of which is written wholly or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_atomic(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        write_atomic(filepath, obj.encode(encoding))


register_backend('atomic_local', AtomicLocalBackend, force=True)


# Strategies of a FlexibleRunner whose checkpoint is a file; those of the others are folders.
_ONE_FILE = ('SingleDeviceStrategy', 'DDPStrategy')


def _written_whole(save: Callable) -> Callable:
    """A strategy's ``save_checkpoint``, which knows of no file backend, under a temporary name."""

    @functools.wraps(save)
    def wrapped(filename: str, **kwargs) -> None:
        if '://' in filename:  # a remote store
            save(filename=filename, **kwargs)
            return
        folder, name = osp.split(filename)
        temporary = osp.join(folder, f'.{name}.{uuid.uuid4().hex}.tmp')  # a leftover if killed
        with writing(filename), _streams_named(filename):
            save(filename=temporary, **kwargs)
            if is_main_process():
                with open(temporary, 'rb+') as file:
                    os.fsync(file.fileno())
                os.replace(temporary, filename)

    return wrapped


@contextlib.contextmanager
def _streams_named(path: str) -> Iterator[None]:
    """Names the path where ``torch.save`` cannot write on, of which it says a ``RuntimeError`` without one."""
    try:
        yield
    except RuntimeError as error:
        if 'PytorchStreamWriter' not in str(error) and 'file write failed' not in str(error):
            raise
        free = shutil.disk_usage(osp.dirname(path) or '.').free
        raise UnusableFileError(
            f'{path} could not be written ({first_line(error)}; {free / 2**20:.0f} MiB are free there): free some '
            'space, then --resume'
        ) from error


class _RemovalsLast:
    """A file backend that keeps removals back until :meth:`remove_now`."""

    def __init__(self, backend) -> None:
        self._backend = backend
        self._waiting: list[tuple[str, str]] = []

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._waiting.append(('remove', str(path)))

    def rmtree(self, path: str) -> None:
        self._waiting.append(('rmtree', str(path)))

    def remove_now(self, keep: set[str]) -> None:
        for action, path in self._waiting:
            if path not in keep and self._backend.exists(path):
                getattr(self._backend, action)(path)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, safe against being killed.

    The stock hook removes the outdated checkpoint before it writes the new one and writes straight
    to the final name. Here every file (``save_best`` and ``last_checkpoint`` too) gets its name
    when it is complete and on disk, and outdated ones go afterwards, so a loadable checkpoint is
    there at any moment. What a killed run left half-written is removed when training starts again.

    Under a ``FlexibleRunner`` with the strategy of one process or DDP all this holds too, and its
    checkpoints say rightly at which epoch and iteration they are.

    Takes all arguments of ``CheckpointHook``. A remote store, named by ``backend_args`` or by the
    prefix of ``out_dir`` (``s3://...``), writes the files itself, and the order (write, then
    remove) still holds.
    """

    backend_args: dict | None  # of the stock hook, as the next
    file_backend: Any

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        local = (self.backend_args or {}).get('backend', 'local') == 'local'
        remote = '://' in str(self.out_dir)  # MMEngine finds the store by the prefix
        if self.file_client_args is None and local and not remote:
            self.backend_args = dict(backend='atomic_local')
        self._position: dict = {}

    def before_train(self, runner) -> None:
        """Removes what a killed run left behind, then does what the stock hook does."""
        super().before_train(runner)
        strategy: Any = getattr(runner, 'strategy', None)  # of a FlexibleRunner
        if type(strategy).__name__ in _ONE_FILE and 'save_checkpoint' not in vars(strategy):
            strategy.save_checkpoint = _written_whole(strategy.save_checkpoint)
        if not is_main_process():
            return
        for folder in {str(self.out_dir), str(runner.work_dir)}:
            for name in remove_leftovers(folder):
                runner.logger.info(f'Removed {name}, which a killed run left half-written.')

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated = self._note_step(runner, step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with self._saying(epoch=meta['epoch'], iter=meta['iter']):
            runner.save_checkpoint(
                self.out_dir,
                self.filename_tmpl.format(step),
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        if is_main_process():
            write_atomic(osp.join(runner.work_dir, 'last_checkpoint'), self.last_ckpt.encode())
            for old in outdated:
                self._remove(old)
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Says at which epoch and iteration this checkpoint is.

        A ``FlexibleRunner`` counts one more, whatever it is told, and so resumes from checkpoints
        of a validation or between two iterations one epoch or iteration too late.
        """
        checkpoint['meta'].update(self._position)

    @contextlib.contextmanager
    def _saying(self, **position: int) -> Iterator[None]:
        """Within, checkpoints are at this epoch and iteration; the outermost block decides."""
        before = self._position
        self._position = before or position
        try:
            yield
        finally:
            self._position = before

    def _note_step(self, runner, step: int) -> list[int]:
        """Notes ``step`` as kept and returns the steps that are one too many now.

        The checkpoint about to be written still lists them, so that a run killed between writing
        and removing removes them when it is resumed (the stock ``before_train`` does that).
        """
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return []
        outdated = []
        while len(self.keep_ckpt_ids) >= self.max_keep_ckpts:
            outdated.append(self.keep_ckpt_ids.popleft())
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', outdated + list(self.keep_ckpt_ids))
        return outdated

    def _remove(self, step: int) -> None:
        path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        with self._removals_last(), self._saying(epoch=runner.epoch, iter=runner.iter):
            super()._save_best_checkpoint(runner, metrics)

    @contextlib.contextmanager
    def _removals_last(self) -> Iterator[None]:
        """The stock ``_save_best_checkpoint`` removes the former best first: put that off."""
        backend = self.file_backend
        self.file_backend = waiting = _RemovalsLast(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        best = getattr(self, 'best_ckpt_path_dict', None) or {}
        # the former best may bear the name of the new one: a run that evaluates a step again
        kept = {str(path) for path in best.values()} | {str(getattr(self, 'best_ckpt_path', ''))}
        waiting.remove_now(keep=kept | {str(self.last_ckpt)})
