"""Which of a library's own configs can be switched: each is tried in a process of its own."""

import json
import multiprocessing
import os
import os.path as osp
import random
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.utils import ProgressBar, get_installed_path

from ..utils.atomic_files import write_atomic
from ..utils.errors import UserError, first_line
from .options import SwitchOptions
from .rewrite import switch_in

__all__ = ['WAYS', 'configs_of', 'survey', 'table']

#: What is tried one after the other until one works.
WAYS: dict[str, dict[str, Any]] = {
    'diffusion backbone': dict(),
    'own backbone': dict(keep_backbone=True),
    'features only': dict(features_only=True),
}
_SECONDS = 900  # of one config, after which it is given up
_KEYS = ('config', 'family', 'way', 'said', 'seconds')  # of a record


def configs_of(library: str, per_family: int | None = None, seed: int = 0) -> list[str]:
    """Names (``'mmseg::fcn/fcn_r50...py'``) of the configs that come with a library.

    Args:
        library (str): 'mmseg' or 'mmdet'.
        per_family (int | None): Only so many of each folder, drawn by ``seed``. Default None: all.
        seed (int): Of the draw. Default 0.

    Raises:
        ValueError: The library is not installed, or an editable install without its configs.
    """
    try:
        folder = Path(get_installed_path(library), '.mim', 'configs')
    except Exception as error:  # of several kinds
        raise UserError(f'{library} is not installed, so its configs cannot be surveyed: install it.') from error
    names = [path.relative_to(folder) for path in folder.rglob('*.py') if '_base_' not in path.parts]
    if not names:
        raise UserError(f'{folder} holds no configs: install {library} from its wheel.')
    families: dict[str, list[str]] = {}
    for name in sorted(names):
        families.setdefault(name.parts[0], []).append(f'{library}::{name.as_posix()}')
    dice = random.Random(seed)
    return [
        name
        for members in families.values()
        for name in (members if per_family is None else sorted(dice.sample(members, min(per_family, len(members)))))
    ]


def survey(library: str, out: str, options: SwitchOptions, per_family: int | None, workers: int) -> str:
    """Tries the configs of a library, each in a process of its own, and writes a table of its families.

    ``OUT/LIBRARY.jsonl`` gets a line for each config as it is done; those that it has are not tried again.

    Args:
        library (str): 'mmseg' or 'mmdet'.
        out (str): Folder, made if it is missing.
        options (SwitchOptions): With which configs are switched; the ways are tried one by one.
        per_family (int | None): See :func:`configs_of`.
        workers (int): Processes at a time.

    Returns:
        str: The table, Markdown; it is also in ``OUT/LIBRARY.md``.

    Raises:
        ValueError: The library is not installed, or ``OUT/LIBRARY.jsonl`` is of something else.
    """
    names = configs_of(library, per_family)
    os.makedirs(out, exist_ok=True)
    kept = osp.join(out, f'{library}.jsonl')
    done = _read(kept)
    left = [name for name in names if name not in done]
    bar = ProgressBar(len(left))
    pool = ThreadPoolExecutor(workers)
    try:
        with open(kept, 'a', encoding='utf-8') as file:
            for future in as_completed([pool.submit(_tried_apart, name, options) for name in left]):
                record = future.result()
                file.write(json.dumps(record, ensure_ascii=False) + '\n')  # a torn last line is tried again
                file.flush()
                done[record['config']] = record
                bar.update()
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for hundreds of configs
    text = table(done[name] for name in names if name in done)
    write_atomic(osp.join(out, f'{library}.md'), text.encode())
    return text


def _read(path: str) -> dict[str, dict[str, Any]]:
    """Records of a survey by their configs; a last line that was torn by a kill is left out and cut off."""
    if not osp.exists(path):
        return {}
    found, whole = {}, 0
    with open(path, 'rb') as file:
        for line in file:
            try:
                record = json.loads(line)
                found[record['config']] = {key: record[key] for key in _KEYS}
            except (ValueError, KeyError, TypeError) as error:
                if line.endswith(b'\n'):
                    raise UserError(f'{path} is not of a survey: give another --out.') from error
                break
            whole += len(line)
    os.truncate(path, whole)
    return found


def _tried_apart(name: str, options: SwitchOptions) -> dict[str, Any]:
    """:func:`tried` in a new process, so that no registry, memory or crash of one config reaches another."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['diff2in1_mm'])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, name, options))
    process.start()
    theirs.close()
    record = None
    if ours.poll(_SECONDS):
        try:
            record = ours.recv()
        except EOFError:
            pass
    else:
        process.kill()
    process.join()
    if record is None:
        record = _record(name, None, f'its process ended with code {process.exitcode}', _SECONDS)
    return record


def _send(pipe: Any, name: str, options: SwitchOptions) -> None:
    import torch

    torch.set_num_threads(1)  # the processes take turns on the cores
    quiet = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(quiet, descriptor)
    pipe.send(tried(name, options))


def tried(name: str, options: SwitchOptions) -> dict[str, Any]:
    """The first way in which a config can be switched, and why those before it cannot.

    Args:
        name (str): Config.
        options (SwitchOptions): What the ways have in common.
    """
    begin, said = time.monotonic(), []
    for way, change in WAYS.items():
        try:
            switch_in(name, 'zoo.py', replace(options, **change))
        except (UserError, ImportError, OSError) as error:
            said.append(first_line(error))
        except Exception as error:  # a fault of ours: it is to be seen in the table
            said.append(f'{type(error).__name__}: {first_line(error)}')
        else:
            return _record(name, way, said[0] if said else '', time.monotonic() - begin)
    return _record(name, None, said[0], time.monotonic() - begin)


def _record(name: str, way: str | None, said: str, seconds: float) -> dict[str, Any]:
    family = name.rpartition('::')[2].partition('/')[0]
    return dict(zip(_KEYS, (name, family, way, said, round(seconds, 1))))


def table(records: Iterable[dict[str, Any]]) -> str:
    """A row for each family: how many configs were tried, in which ways they work, and what is said of the others.

    Args:
        records (Iterable[dict]): Of :func:`survey`.

    Returns:
        str: Markdown.
    """
    families: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        families.setdefault(record['family'], []).append(record)
    head = ['family', 'tried', *WAYS, 'refused', 'what is said where the backbone is not replaced']
    lines = [f'| {" | ".join(head)} |', '|---' * len(head) + '|']
    totals = [0] * (len(WAYS) + 2)
    for family, members in sorted(families.items()):
        counts = [len(members), *(sum(r['way'] == way for r in members) for way in (*WAYS, None))]
        totals = [total + count for total, count in zip(totals, counts)]
        lines.append(_row(family, counts, '<br>'.join(dict.fromkeys(_cell(r['said']) for r in members if r['said']))))
    return '\n'.join([*lines, _row('**all**', totals, '')]) + '\n'


def _row(name: str, counts: Sequence[int], said: str) -> str:
    return f'| {name} | {" | ".join(str(count or "") for count in counts)} | {said} |'


def _cell(text: str) -> str:
    """A sentence that a cell can hold, without what differs from config to config."""
    return text.replace('|', '\\|').replace('\n', ' ')
