"""Labels that people have corrected, in place of those of the creation, which stay where they are."""

from typing import Any

from ..utils.atomic_files import write_atomic
from ..utils.errors import UserError
from .layout import HUMAN
from .records import SampleRecord
from .reviews import Reviews
from .store import SyntheticStore

__all__ = ['correct']


def correct(
    store: SyntheticStore, record: SampleRecord, task: str, annotation: Any, by: str | None = None
) -> SampleRecord:
    """Make a person's label the sample's, which ``theta_C`` does not overwrite. :meth:`Reviews.undo` takes it back.

    Args:
        store (SyntheticStore): Of the sample.
        record (SampleRecord): Of the sample.
        task (str): Kind of label.
        annotation: As the task takes it.
        by (str | None): Who; None: the user of this process.

    Returns:
        SampleRecord: As :meth:`SyntheticStore.accepted` has it from now on.

    Raises:
        ValueError: The label does not fit the sample's image, or the store holds no such labels.
        OSError: The image cannot be read, or the label not be written.
    """
    if task not in store.codecs:
        raise UserError(f'{store.root} holds labels for {", ".join(store.tasks)}, not for {task}: give another store.')
    codec = store.codecs[task]
    image, _ = store.read(record)
    # A name of its own, so that a reader finds the former label or this one, never a part.
    reviews = Reviews(store.root)
    name = f'{HUMAN}/{task}/{record.id}-{reviews.size():x}'
    for suffix, content in codec.encode(annotation, record, image.shape[:2]).items():
        write_atomic(store.root / f'{name}{suffix}', content)
    reviews.add('label', record.id, task, by, f'{name}{codec.suffix}')
    return reviews.verdicts().applied(record)
