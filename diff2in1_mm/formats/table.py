"""Which format is which file here, and what is done with it."""

import importlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..store.corrections import correct
from ..store.records import SampleRecord
from ..store.reviews import Reviews, Verdicts
from ..store.store import SyntheticStore
from ..tasks.segmentation import read_as
from ..utils.atomic_folders import replace_folder
from ..utils.errors import FileInTheWayError, MissingFileError, UserError, did_you_mean, some
from .samples import IGNORED, KINDS, Labelled, annotation_of, rejected_in, samples_of, size_of, without

__all__ = ['FORMATS', 'READERS', 'export', 'import_labels']

#: What ``tools/store.py export --to`` takes -> module here.
FORMATS = {
    'coco': 'coco',
    'voc': 'voc',
    'yolo': 'yolo',
    'cityscapes': 'cityscapes',
    'masks': 'masks',
    'cvat': 'cvat',
    'label-studio': 'label_studio',
    'fiftyone': 'fiftyone',
    'hf-datasets': 'hf_datasets',
    'webdataset': 'webdataset',
}
#: Those that take the labels of all tasks along.
_OF_ALL_TASKS = ('masks', 'hf-datasets', 'webdataset')
#: What ``tools/store.py import --from`` takes.
READERS = ('coco', 'masks', 'cvat')


def export(store: SyntheticStore, to: str, folder: str | Path, round: int | None = None) -> int:
    """Write the accepted samples of a round (None: of all) in another format.

    Args:
        store (SyntheticStore): To read.
        to (str): One of :data:`FORMATS`.
        folder (str | Path): New or empty.
        round (int | None): Number of a round.

    Returns:
        int: How many samples were written.

    Raises:
        UserError: The format cannot hold such labels, or there are no samples. No folder is left then.
        ImportError: It takes a library that is not installed.
    """
    module = _module(to, tuple(FORMATS))
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileInTheWayError(f'{folder} is not empty: give a new folder')
    written = 0

    def counted() -> Iterator[Any]:
        nonlocal written
        for sample in samples_of(store, round):
            yield sample
            written += 1

    if not store.accepted(round):
        raise UserError(f'{store.root} has no accepted samples to export: create some, or take back rejections')
    replace_folder(str(folder), lambda fresh: module.write(counted(), Path(fresh), store.classes))
    kind = next(kind for kind in KINDS if kind in store.tasks)
    left = [task for task in store.tasks if task != kind]
    if left and to not in _OF_ALL_TASKS:
        warnings.warn(
            f'{to} holds {kind} alone, and {", ".join(left)} stay in the store: {", ".join(_OF_ALL_TASKS)} take all'
        )
    return written


def import_labels(store: SyntheticStore, source: str, path: str | Path, by: str | None = None) -> tuple[int, int]:
    """Take labels that people have corrected into a store, see :func:`correct`. Those that say what is there already
    are left out, so that only what a person has changed becomes theirs.

    Args:
        store (SyntheticStore): To change.
        source (str): One of :data:`READERS`.
        path (str | Path): The file or folder.
        by (str | None): Who; None: the user of this process.

    Returns:
        tuple[int, int]: How many labels were taken, and how many said what was there. Maps that have no class anywhere
            are neither: such an image was not annotated, and a warning counts them.

    Raises:
        UserError: The file is of another kind or malformed, names samples or classes that the store has not, or would
            empty all labels of objects. Nothing is taken then.
    """
    module, path = _module(source, READERS), Path(path)
    if not path.exists():
        raise MissingFileError(f'there is no {path}: give what the tool has exported')
    kind = next((kind for kind in KINDS if kind in store.tasks), None)
    if kind is None:
        raise UserError(f'{store.root} holds {", ".join(store.tasks)}, which {source} has not')
    if source == 'masks' and kind != 'segmentation':
        raise UserError(f'masks tell no objects apart, and {store.root} holds {kind}: export {path} as coco or cvat')
    verdicts = Reviews(store.root).verdicts()
    records = {record.id: record for record in store.accepted(None, verdicts)}
    found = list(module.read(path, store.classes))
    _check_images(store, records, found, path)
    changed, same, objects = set[str](), 0, 0
    for id, annotation, is_there in _annotations(store, kind, records, found, verdicts):
        objects += len(annotation.labels) if kind == 'instances' else 0
        if is_there:
            same += 1
        else:
            changed.add(id)
    if kind == 'instances' and changed and not objects:
        raise UserError(
            f'{path} has no annotations, and all {len(changed)} labels would become empty: export it with its '
            'annotations, or reject these samples'
        )
    again = [one for one in found if one.id in changed]  # all is well; the masks of all at once take much memory
    for id, annotation, _ in _annotations(store, kind, records, again, verdicts):
        correct(store, records[id], kind, annotation, by)
    left = len(found) - len(changed) - same
    if left:
        warnings.warn(f'{left} images have no annotations and were left as they are')
    return len(changed), same


def _check_images(store: SyntheticStore, records: dict[str, SampleRecord], found: list[Labelled], path: Path) -> None:
    """Raises UserError unless each image is a sample, of its size, and there once."""
    if not found:
        raise UserError(f'{path} has no images: export those that were corrected')
    counts = Counter(one.id for one in found)
    strangers = [id for id in counts if id not in records]
    if strangers:
        raise UserError(
            f'{path} has images that are no accepted samples of the store: {some(strangers)}; leave them out'
        )
    twice = [id for id, count in counts.items() if count > 1]
    if twice:
        raise UserError(f'{path} has more than one entry of the images {some(twice)}: keep one of each')
    for one in found:
        own = size_of(Path(store.image_path(records[one.id])))
        if one.size != own:
            raise UserError(
                f'{path} has a label of shape {one.size} for {one.id}, whose image is {own}: export it in the size of '
                'the image'
            )


def _annotations(
    store: SyntheticStore, kind: str, records: dict[str, SampleRecord], found: list[Labelled], verdicts: Verdicts
) -> Iterator[tuple[str, Any, bool]]:
    """Id, annotation, and whether it says what is there; without images of which a map would have no class at all."""
    codec, with_masks = store.codecs[kind], kind == 'instances' and _objects_have_masks(store, records)
    for id, size, read in found:
        record, regions = records[id], read()
        if not regions and kind != 'instances':
            continue
        present = codec.decode(store.annotation_paths(record)[kind])
        masked = with_masks or getattr(present, 'masks', None) is not None
        annotation = annotation_of(regions, kind, size, record, getattr(present, 'num_things', 0), masked)
        codec.encode(annotation, record, size)  # what does not fit is told before anything is written
        yield id, annotation, _same(present, annotation, kind, record, rejected_in(record, store, verdicts))


def _objects_have_masks(store: SyntheticStore, records: dict[str, SampleRecord]) -> bool:
    """As the first sample that has objects tells."""
    for record in records.values():
        present = store.codecs['instances'].decode(store.annotation_paths(record)['instances'])
        if len(present.labels):
            return present.masks is not None
    return False


def _same(present: Any, annotation: Any, kind: str, record: SampleRecord, rejected: tuple[int, ...]) -> bool:
    """Whether a label says what an export of the present one does, in which rejected classes are ignored."""
    if kind == 'segmentation':
        classes = read_as(record.entry)  # files may say one class by several values
        before = classes[present]
        return np.array_equal(np.where(np.isin(before, rejected), IGNORED, before), classes[annotation])
    present = without(present, rejected)
    if kind == 'panoptic':
        labels = [np.append(255, one.labels)[one.ids] for one in (present, annotation)]
        pairs = {(int(a), int(b)) for a, b in zip(present.ids.ravel(), annotation.ids.ravel())}
        one_to_one = len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
        return one_to_one and np.array_equal(*labels)
    if not (np.array_equal(present.labels, annotation.labels) and np.array_equal(present.ignored, annotation.ignored)):
        return False
    if present.masks is not None and annotation.masks is not None:
        # a tool may take boxes from masks, whereas a detector gives both
        return np.array_equal(present.masks, annotation.masks)
    same_kind = not len(present.labels) or present.masks is annotation.masks
    return same_kind and np.allclose(present.bboxes, annotation.bboxes, atol=0.01)


def _module(name: str, known: tuple[str, ...]) -> Any:
    if name not in known:
        raise UserError(f'{name!r} is no format' + did_you_mean(name, known))
    return importlib.import_module(f'{__package__}.{FORMATS[name]}')
