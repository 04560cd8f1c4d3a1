"""Writes the Rooms world to disk: labelled splits and unlabelled pictures, from a seed."""

import json
import os
import os.path as osp
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from multiprocessing import Pool

import cv2
import numpy as np
from mmengine.logging import print_log
from mmengine.utils import track_iter_progress, track_progress

from ...tasks.normals import encode_normals
from ...utils.atomic_files import write_atomic
from ...utils.errors import NotInstalledError, UnusableFileError, UserError
from ...utils.file_locks import file_lock
from ...utils.json_files import read_json
from ...utils.randomness import stable_seed
from ...utils.values import check_choice
from .flat import SHADINGS
from .furniture import CLASSES, THINGS
from .night import HOURS
from .render import Room, render_room

#: Pictures of each split. The labelled ones come with every label that there is.
SPLITS = dict(train=200, val=200, unlabelled=20000)
#: Goes up when the renderer changes what a seed looks like.
RENDERER = 1
_BYTES = dict(labelled=180e3, unlabelled=9e3)  # on disk, for each picture of 128x128
_FOLDERS = ('images', 'annotations', 'depth', 'normals', 'boundaries')


def make_rooms(
    root: str,
    splits: Sequence[str] = ('train', 'val'),
    seed: int = 0,
    size: tuple[int, int] = (128, 128),
    counts: dict[str, int] | None = None,
    workers: int | None = None,
    hour: str = 'day',
    shading: str = 'full',
) -> None:
    """Render what is missing of the world below a folder.

    Files of a split: ``images/SPLIT/000000.png`` (``.jpg`` for the unlabelled one), and for
    labelled splits ``annotations/`` (class index, uint8), ``depth/`` (millimetres, uint16),
    ``normals/`` ((n + 1) / 2 * 65535 as 16-bit RGB), ``boundaries/`` (0 or 255) under the same
    names and ``instances_SPLIT.json`` (COCO). ``captions_SPLIT.json`` and ``rooms_SPLIT.json``,
    which says how the split was made, are written last. Several processes may call this at once;
    a world that is complete is only read, so that it may be somebody else's.

    Args:
        root (str): The folder; made if needed.
        splits (Sequence[str]): Of :data:`SPLITS`, or new names that ``counts`` holds.
        seed (int): Of the world.
        size (tuple[int, int]): Height and width, pixels.
        counts (dict[str, int], optional): Pictures of each split. Defaults to :data:`SPLITS`.
        workers (int, optional): Processes. Defaults to the number of cores.
        hour (str): 'day' or 'night', see :func:`render_room`. Default 'day'.
        shading (str): 'full' or 'flat', the same. Default 'full'.

    Raises:
        ValueError: The folder holds a split of another world, or somebody else's data, or there is no such hour
            or shading.
        OSError: No space is left, what was half made is removed; or a file of the world is damaged.
        ImportError: pycocotools is not installed.
    """
    check_choice('hour', hour, HOURS)
    check_choice('shading', shading, SHADINGS)
    counts = dict(SPLITS, **(counts or {}))
    os.makedirs(root, exist_ok=True)
    for split in splits:
        spec = dict(seed=seed, size=list(size), count=counts[split], renderer=RENDERER)
        # worlds of before there were others stay what they are
        if hour != 'day':
            spec['hour'] = hour
        if shading != 'full':
            spec['shading'] = shading
        if _is_made(root, split, spec) and not osp.exists(_marker(root, split)):
            continue  # before the lock, which is a file and asks for the right to write
        # a lock for each split: nobody waits for 20,000 unlabelled rooms to read labelled ones
        with file_lock(osp.join(root, f'.{split}.lock'), needed=True):  # what another one has begun would be removed
            if _is_made(root, split, spec):
                _forget(root, split)  # a kill may have left the marker of what is complete
            else:
                _check_library(split)
                _check_space(root, split, spec)
                _claim(root, split)
                _make_split(root, split, spec, workers or os.cpu_count() or 1)


def _is_made(root: str, split: str, spec: dict) -> bool:
    """Whether the split is complete; right with and without the lock."""
    # a world of an older version has fewer kinds of labels: it is rendered again
    whole = all(osp.isdir(osp.join(root, folder, split)) for folder in _folders(split))
    # read after the look at the folders: who renders again removes this file before making them
    try:
        found = read_json(
            osp.join(root, f'rooms_{split}.json'),
            lambda content: isinstance(content, dict),
            f'delete {root}, and its rooms are rendered again',
        )
    except FileNotFoundError:
        return False
    if found != spec:
        raise UserError(
            f'{root} holds a split {split!r} of another world ({found}, wanted '
            f'{spec}): give another data_root, or delete the folder.'
        )
    return whole


def _folders(split: str) -> Sequence[str]:
    return _FOLDERS[:1] if split == 'unlabelled' else _FOLDERS


def _check_library(split: str) -> None:
    if split != 'unlabelled' and find_spec('pycocotools') is None:
        raise NotInstalledError(
            'the boxes and masks of Rooms are written by pycocotools, which is not '
            'installed: run `pip install pycocotools`.'
        )


def _check_space(root: str, split: str, spec: dict) -> None:
    kind = 'unlabelled' if split == 'unlabelled' else 'labelled'
    pixels = spec['size'][0] * spec['size'][1] / 128**2
    needed, free = _BYTES[kind] * pixels * spec['count'], shutil.disk_usage(root).free
    if needed > free:
        raise UnusableFileError(
            f'the split {split!r} needs about {needed / 1e6:.0f} MB, but {root} has '
            f'{free / 1e6:.0f} MB left: give a data_root with more space.'
        )


def _claim(root: str, split: str) -> None:
    """Refuse somebody else's data; mark the split as ours, of which half may be removed again."""
    if not any(map(osp.exists, (_marker(root, split), osp.join(root, f'rooms_{split}.json')))):
        for path in _paths(root, split):
            if osp.isfile(path) or osp.isdir(path) and os.listdir(path):
                raise UserError(
                    f'{path} is there already and was not rendered by Rooms: give another data_root, or move it away.'
                )
    write_atomic(_marker(root, split), b'')


def _marker(root: str, split: str) -> str:
    return osp.join(root, f'.{split}.making')


def _forget(root: str, split: str) -> None:
    with suppress(FileNotFoundError):
        os.remove(_marker(root, split))


def _paths(root: str, split: str) -> list[str]:
    """Files and folders of a split, but the one that says it is complete."""
    return [osp.join(root, f'{name}_{split}.json') for name in ('captions', 'instances')] + [
        osp.join(root, folder, split) for folder in _FOLDERS
    ]


def _make_split(root: str, split: str, spec: dict, workers: int) -> None:
    """Render a split; whatever stops it, nothing half-made stays."""
    labelled = split != 'unlabelled'
    print_log(f'Rendering {spec["count"]} rooms of the split {split!r} into {root}', 'current')
    _remove(root, split)  # what a killed process left
    for folder in _folders(split):
        os.makedirs(osp.join(root, folder, split))
    look = dict(size=tuple(spec['size']), hour=spec.get('hour', 'day'), shading=spec.get('shading', 'full'))
    tasks = [(root, split, index, spec['seed'], look) for index in range(spec['count'])]
    try:
        records = _write_rooms(tasks, workers)
        files = dict(captions={r['name']: r['caption'] for r in records})
        if labelled:
            files['instances'] = _coco(records, spec['size'])
        for name, content in dict(files, rooms=spec).items():  # rooms last: it says "complete"
            write_atomic(osp.join(root, f'{name}_{split}.json'), json.dumps(content).encode())
    except BaseException:
        _remove(root, split)
        raise
    finally:  # what could not be removed stays marked, and is removed the next time
        if osp.exists(osp.join(root, f'rooms_{split}.json')) or not any(map(osp.exists, _paths(root, split))):
            _forget(root, split)


def _write_rooms(tasks: list[tuple], workers: int) -> list[dict]:
    """Records of all rooms, in order; after a failure no process is left that writes rooms."""
    if workers == 1:
        return track_progress(_write_room, tasks)
    with _no_cv2_threads(), Pool(workers) as pool:
        try:
            return list(track_iter_progress((pool.imap(_write_room, tasks, 4), len(tasks))))
        finally:  # leaving the pool's block would not wait for the processes' ends
            pool.terminate()
            pool.join()


@contextmanager
def _no_cv2_threads() -> Iterator[None]:
    """A forked process waits for ever for OpenCV's threads, if its parent had any."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _remove(root: str, split: str) -> None:
    for path in [osp.join(root, f'rooms_{split}.json'), *_paths(root, split)]:
        if osp.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        elif osp.exists(path):
            os.remove(path)


def _write_room(task: tuple) -> dict:
    """One room's files; gives its name, caption and objects."""
    root, split, index, seed, look = task
    labelled = split != 'unlabelled'
    cv2.setNumThreads(1)  # one process per core already
    room_seed = stable_seed('rooms', seed, split, index) % 2**32
    name = f'{index:06d}.{"png" if labelled else "jpg"}'
    room = render_room(room_seed, **look)
    _write(osp.join(root, 'images', split, name), room.image[..., ::-1])
    if not labelled:
        return dict(name=name, caption=room.caption)
    _write(osp.join(root, 'annotations', split, name), room.classes)
    _write(osp.join(root, 'depth', split, name), (room.depth * 1000).round().astype(np.uint16))
    _write(osp.join(root, 'boundaries', split, name), room.boundaries.astype(np.uint8) * 255)
    normals = encode_normals(room.normals)
    _write(osp.join(root, 'normals', split, name), normals[..., ::-1])
    return dict(name=name, caption=room.caption, objects=_objects(room))


def _write(path: str, array: np.ndarray) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.endswith('.jpg') else []
    if not cv2.imwrite(path, np.ascontiguousarray(array), quality):
        raise UnusableFileError(f'{path} cannot be written: is the disk full?')


def _objects(room: Room) -> list[dict]:
    """COCO annotations, without ids, of the objects that are seen."""
    from pycocotools import mask as coco_mask

    objects = []
    for number, kind in room.kinds.items():
        mask = room.instances == number
        code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        code['counts'] = code['counts'].decode()
        objects.append(
            dict(
                category_id=THINGS.index(CLASSES[kind]) + 1,
                iscrowd=0,
                area=int(mask.sum()),
                segmentation=code,
                bbox=[float(x) for x in coco_mask.toBbox(code)],
            )
        )
    return objects


def _coco(records: list[dict], size: Sequence[int]) -> dict:
    images: list[dict] = []
    annotations: list[dict] = []
    for number, record in enumerate(records, 1):
        images.append(dict(id=number, file_name=record['name'], height=size[0], width=size[1]))
        for item in record['objects']:
            annotations.append(dict(item, id=len(annotations) + 1, image_id=number))
    categories = [dict(id=i, name=name) for i, name in enumerate(THINGS, 1)]
    return dict(images=images, annotations=annotations, categories=categories)
