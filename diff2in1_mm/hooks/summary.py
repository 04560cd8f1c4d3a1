"""What a run reached: the table of its stages, and ``WORK_DIR/summary.json``."""

import json
import numbers
import os.path as osp
import time
from collections.abc import Mapping, Sequence

from mmengine.dist import is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS

from ..utils.atomic_files import write_atomic

__all__ = ['RunSummary', 'Stopwatch', 'SummaryHook', 'log_latest', 'logs_after', 'plain_metrics', 'unreadable_files']


def plain_metrics(metrics: Mapping) -> dict[str, float]:
    """The scalar metrics as Python floats, which any checkpoint and any JSON file can hold."""
    return {
        str(key): float(value)
        for key, value in metrics.items()
        if isinstance(value, numbers.Number) and not isinstance(value, bool) or getattr(value, 'ndim', None) == 0
    }


def log_latest(runner, names: Sequence[str]) -> None:
    """Logs figures as they were measured last.

    MMEngine averages whatever has "loss" in its name over the last ten values. Of figures that are
    measured once for each line of the log, these are ten lines.

    Args:
        runner: Of the training run; what its ``log_processor`` says of a figure stays.
        names (Sequence[str]): Of the figures.
    """
    processor = runner.log_processor
    told = {entry.get('log_name', entry['data_src']) for entry in processor.custom_cfg}
    processor.custom_cfg = [
        *processor.custom_cfg,
        *(dict(data_src=name, method_name='current') for name in names if name not in told),
    ]


def logs_after(runner, logger: LoggerHook, batch_idx: int) -> bool:
    """Whether a ``LoggerHook`` writes a line after this iteration.

    It does so at its interval, and at the end of an epoch that is not longer than that (or of each
    epoch, with ``ignore_last=False``).

    Args:
        runner: Of the training run.
        logger (LoggerHook): One of its hooks.
        batch_idx (int): As hooks are told.
    """
    if logger.every_n_inner_iters(batch_idx, logger.interval):
        return True
    short = len(runner.train_dataloader) <= logger.interval
    return logger.end_of_epoch(runner.train_dataloader, batch_idx) and (short or not logger.ignore_last)


class Stopwatch:
    """Seconds spent in each part of a run, carried on over resumes.

    Exactly one part runs at a time; :meth:`switch` ends it.
    """

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self._seconds = dict(seconds or {})
        self._part: str | None = None
        self._since = 0.0

    def switch(self, part: str | None) -> str | None:
        """Starts counting for ``part`` (None: for nothing) and returns what was counted before."""
        before, now = self._part, time.monotonic()
        if before is not None:
            self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._part, self._since = part, now
        return before

    def seconds(self) -> dict[str, float]:
        """Seconds of every part so far, the running one included."""
        self.switch(self._part)
        return {part: round(seconds, 3) for part, seconds in self._seconds.items()}


def unreadable_files(runner) -> int:
    """Files that the training data left out, in all processes, all of which have to call this."""
    count = getattr(runner.train_dataloader.dataset, 'unreadable_everywhere', None)
    return 0 if count is None else count()


class RunSummary:
    """Metrics of the stages, number of synthetic samples, seconds.

    Args:
        stages (Mapping): Stage -> metrics, in the order in which they ran.
        synthetic (Mapping): What was created (``samples``, ``rounds``, ...).
        seconds (Mapping): Part of the run -> seconds.
        unreadable (int): Files of the training data that could not be read. Default 0.
    """

    def __init__(
        self, stages: Mapping[str, Mapping], synthetic: Mapping, seconds: Mapping, unreadable: int = 0
    ) -> None:
        # 7 digits: what a float32 metric holds
        self.stages = {
            stage: {name: float(f'{value:.7g}') for name, value in metrics.items()} for stage, metrics in stages.items()
        }
        self.synthetic = dict(synthetic)
        self.seconds = dict(seconds)
        self.unreadable = unreadable

    def write(self, work_dir: str) -> str:
        """Writes ``summary.json`` and returns its path."""
        path = osp.join(work_dir, 'summary.json')
        content = dict(stages=self.stages, synthetic=self.synthetic, seconds=self.seconds, unreadable=self.unreadable)
        write_atomic(path, (json.dumps(content, indent=2) + '\n').encode())
        return path

    def table(self) -> str:
        """The stages as rows and the metrics as columns."""
        names = list(dict.fromkeys(n for metrics in self.stages.values() for n in metrics))
        rows = [['stage', *names, 'seconds']]
        for stage, metrics in self.stages.items():
            figures = [f'{metrics[n]:.4g}' if n in metrics else '-' for n in names]
            seconds = self.seconds.get(stage)
            rows.append([stage, *figures, '-' if seconds is None else f'{seconds:.1f}'])
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = [
            '  '.join(cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths)))
            for row in rows
        ]
        if self.synthetic:
            lines.append('synthetic: ' + ', '.join(f'{v} {k}' for k, v in self.synthetic.items()))
        other = {k: v for k, v in self.seconds.items() if k not in self.stages}
        if other:
            lines.append('seconds: ' + ', '.join(f'{v:.1f} {k}' for k, v in other.items()))
        if self.unreadable:
            lines.append(
                f'{self.unreadable} files of the training data could not be read and were '
                'left out; warnings above name each'
            )
        return '\n'.join(lines)

    def report(self, runner) -> None:
        """Logs the table and writes the file, on the main process."""
        if is_main_process():
            path = self.write(runner.work_dir)
            runner.logger.info(f'Stages of this run ({path}):\n{self.table()}')


@HOOKS.register_module()
class SummaryHook(Hook):
    """Writes the summary of a run without :class:`SelfImprovingHook`, such as a control.

    Its one stage is called ``supervised``; its figures are those of the last state, which is
    validated at the end where the training loop did not. ``tools/train.py`` adds this hook where it
    is wanted.
    """

    priority = 'NORMAL'

    def __init__(self) -> None:
        self._clock = Stopwatch()
        self._metrics: dict[str, float] = {}
        self._validated_at = -1  # iteration
        self._training: str | None = None

    def before_train(self, runner) -> None:
        self._clock.switch('supervised')

    def before_val(self, runner) -> None:
        self._training = self._clock.switch('validation')

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        self._metrics = plain_metrics(metrics or {})
        self._validated_at = runner.iter

    def after_val(self, runner) -> None:
        self._clock.switch(self._training)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['run_summary'] = dict(
            seconds=self._clock.seconds(), metrics=self._metrics, validated_at=self._validated_at
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if runner._resume:
            saved = checkpoint.get('run_summary', {})
            self._clock = Stopwatch(saved.get('seconds'))
            self._metrics = saved.get('metrics', {})
            self._validated_at = saved.get('validated_at', -1)

    def after_train(self, runner) -> None:
        """Validates the last state if the loop did not, and writes the summary."""
        if runner.val_loop is not None and self._validated_at != runner.iter:
            runner.val_loop.run()
        self._clock.switch(None)
        RunSummary(dict(supervised=self._metrics), {}, self._clock.seconds(), unreadable_files(runner)).report(runner)
