"""What people said of samples: ``STORE/reviews.jsonl``, an act a line, of which none is ever rewritten.

An act is kept with who did it and when. Undoing is an act too, so that the file tells the whole story. The records of
the samples stay as the creation wrote them.
"""

import getpass
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from ..utils.atomic_files import writing
from ..utils.file_locks import file_lock
from ..utils.values import check_choice
from .records import SampleRecord, leads_outside

__all__ = ['ACTS', 'NOTHING', 'Review', 'Reviews', 'Verdicts']

FILE = 'reviews.jsonl'
#: What can be said: the sample is good, it is not to be trained on, what its label calls by one class is not, or one of
#: its labels is another (see :mod:`.corrections`).
ACTS = ('keep', 'reject', 'reject_class', 'label')
_LOCK_TIMEOUT = 60  # seconds; an act takes milliseconds


@dataclass(frozen=True)
class Review:
    """One act.

    Attributes:
        act: One of :data:`ACTS`, or 'undo'.
        sample: Id of the sample.
        by: Who.
        at: When: ISO 8601, UTC.
        key: Tells the act apart from all others.
        name: Of the class, for 'reject_class'; kind of label, for 'label'; else ''.
        file: Of the label, relative to the store, for 'label'; else ''.
        undoes: :attr:`key` of the act that 'undo' takes back; else ''.
    """

    act: str
    sample: str
    by: str
    at: str
    key: str
    name: str = ''
    file: str = ''
    undoes: str = ''


class Verdicts(NamedTuple):
    """What holds after all acts; of several about a sample the last counts.

    Attributes:
        kept: Ids of samples that somebody found good.
        rejected: Ids of samples that are not to be trained on.
        classes: Id -> names of classes that are wrong in this sample's label.
        labels: Id -> kind of label -> file of the label that a person made, relative to the store.
    """

    kept: frozenset[str]
    rejected: frozenset[str]
    classes: dict[str, frozenset[str]]
    labels: dict[str, dict[str, str]]

    def applied(self, record: SampleRecord) -> SampleRecord:
        """The record with the labels that people made in place of the creation's, and without figures about these."""
        own = self.labels.get(record.id)
        if not own:
            return record
        several = len(record.annotations) > 1
        quality = {
            name: value
            for name, value in record.quality.items()
            if several and name.partition('.')[0] not in own and name != 'ignored'
        }
        return replace(
            record,
            annotations={**record.annotations, **own},
            label_from={**record.label_from, **dict.fromkeys(own, 'human')},
            quality=quality,
            classes={},
        )


NOTHING = Verdicts(frozenset(), frozenset(), {}, {})


class Reviews:
    """The reviews of a store. Safe in many processes and threads, and whenever one is killed.

    Args:
        root (str | Path): The store's folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.path = Path(root) / FILE
        self._lock_file = str(Path(root) / '.reviews.lock')

    def size(self) -> int:
        """Bytes so far: what :meth:`verdicts` takes to see no later act."""
        return self.path.stat().st_size if self.path.exists() else 0

    def acts(self, size: int | None = None) -> list[Review]:
        """All acts in their order, but for those that were undone, and for a line that a killed writer left.

        Args:
            size (int | None): Of :meth:`size` at an earlier moment, which is looked at; None: now.
        """
        with suppress(FileNotFoundError):
            done = list(_reviews(self.path.read_bytes()[:size].splitlines()))
            undone = {review.undoes for review in done}
            return [review for review in done if review.act != 'undo' and review.key not in undone]
        return []

    def verdicts(self, size: int | None = None) -> Verdicts:
        """What holds now, or held when the file had so many bytes."""
        whole: dict[str, str] = {}
        classes: dict[str, frozenset[str]] = {}
        labels: dict[str, dict[str, str]] = {}
        for review in self.acts(size):
            if review.act == 'label':
                classes.pop(review.sample, None)  # of what the person has now drawn anew
                labels.setdefault(review.sample, {})[review.name] = review.file
                continue
            if review.act == 'reject_class':
                classes[review.sample] = classes.get(review.sample, frozenset()) | {review.name}
                continue
            whole[review.sample] = review.act
            if review.act == 'keep':  # as it is
                classes.pop(review.sample, None)
        kept, rejected = (frozenset(id for id, act in whole.items() if act == wanted) for wanted in ('keep', 'reject'))
        return Verdicts(kept, rejected, classes, labels)

    def add(self, act: str, sample: str, name: str = '', by: str | None = None, file: str = '') -> Review:
        """Note an act.

        Args:
            act (str): One of :data:`ACTS`.
            sample (str): Id of the sample.
            name (str): See :class:`Review`.
            file (str): See :class:`Review`.
            by (str | None): Who; None: the user of this process.

        Raises:
            ValueError: There is no such act.
            OSError: The file cannot be written.
        """
        check_choice('act', act, ACTS)
        with file_lock(self._lock_file, _LOCK_TIMEOUT, poll_interval=0.002):
            return self._append(act, sample, by or user(), name=name, file=file)

    def undo(self, by: str | None = None) -> Review | None:
        """Take back this person's last act; None where there is none left."""
        by = by or user()
        with file_lock(self._lock_file, _LOCK_TIMEOUT, poll_interval=0.002):
            last = next((review for review in reversed(self.acts()) if review.by == by), None)
            if last is not None:
                self._append('undo', last.sample, by, undoes=last.key)
        return last

    def _append(self, act: str, sample: str, by: str, **more: str) -> Review:
        at = datetime.now(timezone.utc).isoformat(timespec='seconds')
        review = Review(act, sample, by, at, uuid.uuid4().hex, **more)
        line = json.dumps({key: value for key, value in asdict(review).items() if value}).encode() + b'\n'
        with writing(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                end = os.fstat(descriptor).st_size
                if end and os.pread(descriptor, 1, end - 1) != b'\n':  # a killed writer's half line ends here
                    line = b'\n' + line
                os.write(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return review


def user() -> str:
    """Who runs this process, as far as the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user number without a name, in a container
        return str(os.getuid())


def _reviews(lines: Iterable[bytes]) -> Iterator[Review]:
    names = {field.name for field in fields(Review)}
    for line in lines:
        try:
            values = json.loads(line)
            review = Review(**{key: str(value) for key, value in values.items() if key in names})
        except (ValueError, TypeError, AttributeError):
            continue
        if review.act in (*ACTS, 'undo') and not leads_outside(review.file):
            yield review
