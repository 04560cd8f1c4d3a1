"""Which of a library's own configs can be switched: each of its models is tried in a process of its own."""

import json
import multiprocessing
import os
import os.path as osp
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import ProgressBar, get_installed_path

from ..utils.atomic_files import write_atomic
from ..utils.errors import UserError, first_line
from .built import load
from .fitting import Fit, fit_model
from .options import SwitchOptions
from .rewrite import check_text, switched_text
from .twins import depth_of, model_key

__all__ = ['WAYS', 'configs_of', 'groups_of', 'survey', 'table', 'tried']

#: What is tried one after the other until one works.
WAYS: dict[str, dict[str, Any]] = {
    'diffusion backbone': dict(),
    'own backbone': dict(keep_backbone=True),
    'features only': dict(features_only=True),
}
_SECONDS = 900  # of one config, after which it is given up
_KEYS = ('config', 'family', 'way', 'said', 'same_as', 'seconds')  # of a record


def configs_of(library: str, per_family: int | None = None, seed: int = 0) -> list[str]:
    """Names (``'mmseg::fcn/fcn_r50...py'``) of the configs that come with a library.

    Args:
        library (str): 'mmseg' or 'mmdet'.
        per_family (int | None): Only so many of each folder, drawn by ``seed``. Default None: all.
        seed (int): Of the draw. Default 0.

    Raises:
        ValueError: The library is not installed, or an editable install without its configs.
    """
    folder = _folder(library)
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


def _folder(library: str) -> Path:
    """Where the configs of a library lie."""
    try:
        return Path(get_installed_path(library), '.mim', 'configs')
    except Exception as error:  # of several kinds
        raise UserError(f'{library} is not installed, so its configs cannot be surveyed: install it.') from error


def survey(library: str, out: str, options: SwitchOptions, per_family: int | None, workers: int) -> str:
    """Switches the configs of a library, and writes a table of its families.

    Each text is written and read back. The models of a group (see :func:`groups_of`) are tried in one process, those
    that are twins of one that was tried are not: they get its result, and its name as ``same_as``.

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
    left = groups_of([name for name in names if name not in done])
    bar = ProgressBar(sum(map(len, left)))
    pool = ThreadPoolExecutor(workers)
    lock = threading.Lock()
    try:
        with open(kept, 'a', encoding='utf-8') as file:

            def keep(record: dict[str, Any]) -> None:
                with lock:
                    file.write(json.dumps(record, ensure_ascii=False) + '\n')  # a torn last line is tried again
                    file.flush()
                    done[record['config']] = record
                    bar.update()

            for future in as_completed([pool.submit(_try_apart, group, options, keep) for group in left]):
                future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for hundreds of configs
    text = table(done[name] for name in names if name in done)
    write_atomic(osp.join(out, f'{library}.md'), text.encode())
    return text


def groups_of(names: Sequence[str]) -> list[list[str]]:
    """Configs whose models differ in the depth of their backbones at most, the shallowest first.

    Args:
        names (Sequence[str]): Of configs.

    Returns:
        list[list[str]]: First the largest group of each family, then the second of each, and so on.
    """
    groups: dict[str, list[tuple[tuple[int, int], str]]] = {}
    for name in names:
        try:
            cfg = load(_path(name))
            key, depth = model_key(cfg, with_depth=False), depth_of(cfg)
        except Exception:  # what is wrong is said when it is tried
            key, depth = name, (0, 1)
        groups.setdefault(key, []).append((depth, name))
    families: dict[str, list[list[str]]] = {}
    for members in sorted(groups.values(), key=len, reverse=True):
        group = [name for _, name in sorted(members)]
        families.setdefault(_family(group[0]), []).append(group)
    rounds = zip_longest(*families.values())
    return [group for one_of_each in rounds for group in one_of_each if group]


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


def _try_apart(group: list[str], options: SwitchOptions, keep: Callable[[dict[str, Any]], None]) -> None:
    """:func:`tried` in a new process, so that no registry, memory or crash of one config reaches another group."""
    while group:
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(['diff2in1_mm'])
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(theirs, group, options))
        process.start()
        theirs.close()
        while group and ours.poll(_SECONDS):
            try:
                keep(ours.recv())
            except EOFError:  # it crashed
                break
            group = group[1:]
        else:
            process.kill()
        process.join()
        if group:
            keep(_record(group[0], None, f'its process ended with code {process.exitcode}', None, _SECONDS))
            group = group[1:]


def _send(pipe: Any, group: Sequence[str], options: SwitchOptions) -> None:
    import torch

    torch.set_num_threads(1)  # the processes take turns on the cores
    quiet = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(quiet, descriptor)
    known: dict[str, Tried] = {}
    for name in group:
        pipe.send(tried(name, options, known))


@dataclass(frozen=True)
class Tried:
    """What was found of a model: by which config, in which way it works if in any, and what was said of the others."""

    name: str
    way: str | None
    fit: Fit | None
    said: str


def tried(name: str, options: SwitchOptions, known: dict[str, Tried]) -> dict[str, Any]:
    """The first way in which a config can be switched, and why those before it cannot.

    Args:
        name (str): Config.
        options (SwitchOptions): What the ways have in common.
        known (dict): Found of other models, by :func:`model_key`; what is found is added.

    Returns:
        dict: A record; ``seconds`` that it took, ``same_as`` the config whose model was tried, None: its own.
    """
    begin = time.monotonic()
    path = _path(name)
    try:
        cfg = load(path)
        keys = [model_key(cfg, with_depth) for with_depth in (True, False)]
        found = known.get(keys[0]) or known.get(keys[1]) or _try_ways(name, cfg, options)
        known.setdefault(keys[0], found)
        if found.fit is not None and found.fit.maps is not None:
            known.setdefault(keys[1], found)
        way, said = found.way, found.said
        if way is not None and found.fit is not None:
            _check_written(cfg, path, replace(options, **WAYS[way]), found.fit)
    except Exception as error:
        found, way, said = Tried(name, None, None, ''), None, _sentence(error)
    said = said.replace(f'{path.rpartition("/")[0]}/', '')
    return _record(name, way, said, None if found.name == name else found.name, time.monotonic() - begin)


def _try_ways(name: str, cfg: Config, options: SwitchOptions) -> Tried:
    said: list[str] = []
    for way, change in WAYS.items():
        try:
            fit = fit_model(cfg, replace(options, **change))
        except Exception as error:
            said.append(_sentence(error))
        else:
            return Tried(name, way, fit, said[0] if said else '')
    return Tried(name, None, None, ' '.join(dict.fromkeys(said)))


def _sentence(error: Exception) -> str:
    """What a user is told; of a fault of ours its kind too, so that it is seen in the table."""
    told = isinstance(error, (UserError, ImportError, OSError))
    return first_line(error) if told else f'{type(error).__name__}: {first_line(error)}'


def _check_written(cfg: Config, path: str, options: SwitchOptions, fit: Fit) -> None:
    """Writes the text of a switched config and reads it back.

    Raises:
        ValueError: See :func:`switched_text` and :func:`check_text`.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = osp.join(folder, 'switched.py')
        check_text(switched_text(cfg, path, out, options, fit), out)


def _path(name: str) -> str:
    """The file of a config. By its name, MMEngine would read all of its library's index for each."""
    library, _, config = name.partition('::')
    return osp.join(_folder(library), config)


def _family(name: str) -> str:
    return name.rpartition('::')[2].partition('/')[0]


def _record(name: str, way: str | None, said: str, same_as: str | None, seconds: float) -> dict[str, Any]:
    return dict(zip(_KEYS, (name, _family(name), way, said, same_as, round(seconds, 1))))


def table(records: Iterable[dict[str, Any]]) -> str:
    """A row for each family: its configs, how many of them were tried themselves, in which ways they work, and what
    is said of the others.

    Args:
        records (Iterable[dict]): Of :func:`survey`.

    Returns:
        str: Markdown.
    """
    families: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        families.setdefault(record['family'], []).append(record)
    head = ['family', 'configs', 'tried', *WAYS, 'refused', 'what is said where the backbone is not replaced']
    lines = [f'| {" | ".join(head)} |', '|---' * len(head) + '|']
    totals = [0] * (len(WAYS) + 3)
    for family, members in sorted(families.items()):
        counts = [len(members), sum(r['same_as'] is None for r in members)]
        counts += [*(sum(r['way'] == way for r in members) for way in (*WAYS, None))]
        totals = [total + count for total, count in zip(totals, counts)]
        lines.append(_row(family, counts, '<br>'.join(dict.fromkeys(_cell(r['said']) for r in members if r['said']))))
    return '\n'.join([*lines, _row('**all**', totals, '')]) + '\n'


def _row(name: str, counts: Sequence[int], said: str) -> str:
    return f'| {name} | {" | ".join(str(count or "") for count in counts)} | {said} |'


def _cell(text: str) -> str:
    """A sentence that a cell can hold, without what differs from config to config."""
    return text.replace('|', '\\|').replace('\n', ' ')
