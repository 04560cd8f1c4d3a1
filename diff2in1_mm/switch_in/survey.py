"""Which of a library's own configs can be switched: each of its models is tried in a process of its own."""

import json
import os
import os.path as osp
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from mmengine.config import Config

from ..utils.atomic_files import write_atomic
from ..utils.errors import FileInTheWayError, UserError
from ..utils.json_files import read_json
from .apart import continued, read_records, sentence_of
from .built import load
from .fitting import Fit, fit_model
from .options import WAYS, SwitchOptions
from .rehearsal import RUN_KEYS, rehearsals
from .rewrite import check_text, switched_text
from .twins import model_key
from .zoo import configs_of, family_of, groups_of, path_of

__all__ = ['survey', 'table', 'tried']

_KEYS = ('config', 'family', 'way', 'said', 'same_as', 'seconds')  # of a record


def survey(
    library: str, out: str, options: SwitchOptions, per_family: int | None, workers: int, iterations: int | None = None
) -> str:
    """Switches the configs of a library, and writes a table of its families.

    Each text is written and read back. The models of a group (see :func:`groups_of`) are tried in one process, those
    that are twins of one that was tried are not: they get its result, and its name as ``same_as``.

    ``OUT/LIBRARY.jsonl`` gets a line for each config as it is done; those that it has are not tried again. So does
    ``OUT/LIBRARY-runs.jsonl`` for each run.

    Args:
        library (str): 'mmseg' or 'mmdet'.
        out (str): Folder, made if it is missing.
        options (SwitchOptions): With which configs are switched; the ways are tried one by one.
        per_family (int | None): See :func:`configs_of`.
        workers (int): Processes at a time.
        iterations (int | None): Run one config of each family that works for so many (see :func:`rehearse`). Default
            None: none is run.

    Returns:
        str: The table, Markdown; it is also in ``OUT/LIBRARY.md``.

    Raises:
        ValueError: The library is not installed, ``out`` is a file or holds records of other options, or
            ``OUT/LIBRARY.jsonl`` is of something else.
    """
    if osp.exists(out) and not osp.isdir(out):
        raise FileInTheWayError(f'--out {out} is a file, and a survey writes into a folder: give a new one')
    names = configs_of(library, per_family)
    os.makedirs(out, exist_ok=True)
    _keep_options(osp.join(out, 'options.json'), options)
    kept = osp.join(out, f'{library}.jsonl')
    done = read_records(kept, _KEYS)
    left = groups_of([name for name in names if name not in done])
    continued(kept, left, partial(_tried_in_turn, options=options), _lost, workers)
    done = read_records(kept, _KEYS)
    records = [done[name] for name in names if name in done]
    kept = osp.join(out, f'{library}-runs.jsonl')
    if iterations is not None:
        rehearsals(_one_of_each(records, read_records(kept, RUN_KEYS)), kept, options, iterations, workers)
    text = table(records, read_records(kept, RUN_KEYS).values())
    write_atomic(osp.join(out, f'{library}.md'), text.encode())
    return text


def _keep_options(path: str, options: SwitchOptions) -> None:
    """Write what the records of a folder have in common, or compare it with what is there."""
    said = json.dumps(asdict(options), indent=2)
    if not osp.exists(path):
        write_atomic(path, said.encode())
        return
    kept = read_json(path, lambda content: isinstance(content, dict), 'give another --out')
    changed = [name for name, value in json.loads(said).items() if kept.get(name) != value]
    if changed:
        raise UserError(
            f'{osp.dirname(path)} holds a survey with another --{changed[0].replace("_", "-")} '
            f'({kept.get(changed[0])}): give another --out'
        )


def _one_of_each(records: Sequence[dict[str, Any]], runs: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """The config of each family that was tried most quickly, with its way, the quickest first; none that has run."""
    left = {}
    families = {run['family'] for run in runs.values()}
    for record in sorted(records, key=lambda record: record['seconds']):
        works = record['same_as'] is None and record['way'] in ('diffusion backbone', 'own backbone')
        if works and record['family'] not in families:
            left[record['config']] = record['way']
            families.add(record['family'])
    return left


def _tried_in_turn(group: Sequence[str], options: SwitchOptions) -> Iterator[dict[str, Any]]:
    known: dict[str, Tried] = {}
    for name in group:
        yield tried(name, options, known)


def _lost(name: str, said: str) -> dict[str, Any]:
    return _record(name, None, said, None, 0)


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
    path = path_of(name)
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
        found, way, said = Tried(name, None, None, ''), None, sentence_of(error)
    said = said.replace(path, 'the config')  # which the record names
    return _record(name, way, said, None if found.name == name else found.name, time.monotonic() - begin)


def _try_ways(name: str, cfg: Config, options: SwitchOptions) -> Tried:
    said: list[str] = []
    for way, change in WAYS.items():
        try:
            fit = fit_model(cfg, replace(options, **change))
        except Exception as error:
            said.append(sentence_of(error))
        else:
            return Tried(name, way, fit, said[0] if said else '')
    return Tried(name, None, None, '. '.join(dict.fromkeys(said)))


def _check_written(cfg: Config, path: str, options: SwitchOptions, fit: Fit) -> None:
    """Writes the text of a switched config and reads it back.

    Raises:
        ValueError: See :func:`switched_text` and :func:`check_text`.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = osp.join(folder, 'switched.py')
        check_text(switched_text(cfg, path, out, options, fit), out)


def _record(name: str, way: str | None, said: str, same_as: str | None, seconds: float) -> dict[str, Any]:
    return dict(zip(_KEYS, (name, family_of(name), way, said, same_as, round(seconds, 1))))


def table(records: Iterable[dict[str, Any]], runs: Iterable[dict[str, Any]] = ()) -> str:
    """A row for each family: its configs, how many of them were tried themselves, in which ways they work, and what
    is said of the others.

    Args:
        records (Iterable[dict]): Of :func:`survey`.
        runs (Iterable[dict]): Of :func:`rehearsals`.

    Returns:
        str: Markdown.
    """
    ran = {run['family']: run for run in runs}
    families: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        families.setdefault(record['family'], []).append(record)
    head = ['family', 'configs', 'tried', *WAYS, 'refused', 'run', 'what is said where the backbone is not replaced']
    lines = [f'| {" | ".join(head)} |', '|---' * len(head) + '|']
    totals = [0] * (len(WAYS) + 3)
    for family, members in sorted(families.items()):
        counts = [len(members), sum(r['same_as'] is None for r in members)]
        counts += [*(sum(r['way'] == way for r in members) for way in (*WAYS, None))]
        totals = [total + count for total, count in zip(totals, counts)]
        run = ran.get(family, dict(iterations='', said=''))
        said = dict.fromkeys(_cell(record['said']) for record in (*members, run) if record['said'])
        lines.append(_row(family, [*counts, run['iterations']], '<br>'.join(said)))
    return '\n'.join([*lines, _row('**all**', [*totals, ''], '')]) + '\n'


def _row(name: str, counts: Sequence[int | str], said: str) -> str:
    return f'| {name} | {" | ".join(str(count or "") for count in counts)} | {said} |'


def _cell(text: str) -> str:
    """A sentence that a cell can hold."""
    return ' '.join(text.replace('|', '\\|').split())
