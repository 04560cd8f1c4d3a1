"""Work on many configs, some at a time in processes of their own, kept line by line in a file that can be continued."""

import gc
import json
import multiprocessing
import os
import os.path as osp
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from mmengine.utils import ProgressBar

from ..utils.errors import UserError, first_line

__all__ = ['Work', 'continued', 'read_records', 'sentence_of']

Record = dict[str, Any]
#: Of some configs: gives a record of each, in their order. It has to be picklable.
Work = Callable[[Sequence[str]], Iterable[Record]]

_SECONDS = 900  # of one config, after which it is given up


def continued(
    path: str, groups: Sequence[Sequence[str]], work: Work, lost: Callable[[str, str], Record], workers: int
) -> None:
    """Does ``work`` for each group in a new process, so that no registry, memory or crash of one reaches another.

    Args:
        path (str): File that gets a line for each record as it comes.
        groups (Sequence): Names of configs.
        work (Callable): Called with a group.
        lost (Callable): Called with a config whose process crashed or took more than 15 minutes for it, and what
            happened to it; gives its record. The rest of its group is done by another process.
        workers (int): Processes at a time.
    """
    bar, lock = ProgressBar(sum(map(len, groups))), threading.Lock()
    pool = ThreadPoolExecutor(workers)
    with open(path, 'a', encoding='utf-8') as file:

        def keep(record: Record) -> None:
            with lock:
                file.write(json.dumps(record, ensure_ascii=False) + '\n')  # a torn last line is done again
                file.flush()
                bar.update()

        try:
            for future in as_completed([pool.submit(_apart, group, work, lost, keep) for group in groups]):
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for hundreds of configs


def read_records(path: str, keys: Sequence[str]) -> dict[str, Record]:
    """Records by their configs; a last line that was torn by a kill is left out and cut off.

    Args:
        path (str): Of :func:`continued`, there or not.
        keys (Sequence[str]): What a record has.

    Raises:
        ValueError: The file is of something else.
    """
    if not osp.exists(path):
        return {}
    found, whole = {}, 0
    with open(path, 'rb') as file:
        for line in file:
            if not line.endswith(b'\n'):  # a writer was killed; the next record would stand behind it
                break
            try:
                record = json.loads(line)
                found[record['config']] = {key: record[key] for key in keys}
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f'{path} is not of a survey: give another --out.') from error
            whole += len(line)
    os.truncate(path, whole)
    return found


def _apart(
    group: Sequence[str], work: Work, lost: Callable[[str, str], Record], keep: Callable[[Record], None]
) -> None:
    left = list(group)
    while left:
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(['diff2in1_mm'])
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(theirs, left, work))
        process.start()
        theirs.close()
        while left and ours.poll(_SECONDS):
            try:
                keep(ours.recv())
            except EOFError:  # it crashed
                break
            del left[0]
        else:
            process.kill()
        process.join()
        if left:
            keep(lost(left.pop(0), f'its process ended with code {process.exitcode}'))


def _send(pipe: Any, group: Sequence[str], work: Work) -> None:
    import torch

    torch.set_num_threads(1)  # the processes take turns on the cores
    gc.freeze()  # what was imported is not looked through again and again
    quiet = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(quiet, descriptor)
    for record in work(group):
        pipe.send(record)


def sentence_of(error: Exception) -> str:
    """What a user is told; of a fault of ours its kind too, so that it is seen in a table."""
    told = isinstance(error, (UserError, ImportError, OSError))
    return first_line(error) if told else f'{type(error).__name__}: {first_line(error)}'
