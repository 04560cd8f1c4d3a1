"""A store's samples in the order and choice that somebody wants to see them in."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..store.records import SampleRecord
from ..store.reviews import Review, Reviews, Verdicts
from ..store.store import SyntheticStore
from ..utils.errors import UserError, first_line

__all__ = ['Catalogue', 'Query']

VERDICTS = ('', 'open', 'keep', 'reject', 'class', 'human')


@dataclass(frozen=True)
class Query:
    """Which samples, in which order.

    Attributes:
        sort: Name of a figure, or 'id'; samples without the figure come last.
        descending: The largest first.
        shows: Name of a class that the label shows; '' any.
        verdict: 'open' (nothing was said), 'keep', 'reject', 'class' (a class of it was rejected), 'human' (a label was
            corrected), '' any.
        round: Number of a round; None any.
        figure, least, most: A figure that lies between two numbers; '' and None for no bound.
    """

    sort: str = 'id'
    descending: bool = False
    shows: str = ''
    verdict: str = ''
    round: int | None = None
    figure: str = ''
    least: float | None = None
    most: float | None = None

    @property
    def plain(self) -> bool:
        """Whether these are all samples as the store has them, which is known without reading any."""
        return self == Query()

    @classmethod
    def of(cls, values: Mapping[str, str]) -> 'Query':
        """From texts, as an address has them.

        Raises:
            UserError: One is no number, or no such verdict.
        """
        try:
            return cls(
                sort=values.get('sort') or 'id',
                descending=values.get('descending') == '1',
                shows=values.get('shows', ''),
                verdict=VERDICTS[VERDICTS.index(values.get('verdict', ''))],
                round=int(values['round']) if values.get('round') else None,
                figure=values.get('figure', ''),
                least=float(values['least']) if values.get('least') else None,
                most=float(values['most']) if values.get('most') else None,
            )
        except ValueError as error:
            raise UserError(f'this is no choice of samples ({error}): numbers are wanted') from error


class Catalogue:
    """What is known of all samples; figures and classes are read in the background.

    Args:
        store (SyntheticStore): To look at.
        figures (Mapping): Name -> what gives it for a record, or None: figures that the records do not have.
    """

    def __init__(
        self, store: SyntheticStore, figures: Mapping[str, Callable[[SampleRecord], float | None]] | None = None
    ) -> None:
        self.store, self.reviews = store, Reviews(store.root)
        self.records: Sequence[SampleRecord] = store.records()
        self._measures = dict(figures or {})
        self._place: dict[str, int] = {}
        self._rounds = np.zeros(len(self.records), np.int32)
        self._shown = np.zeros((len(self.records), len(store.classes)), bool)
        self._figures: dict[str, np.ndarray] = {
            name: np.full(len(self.records), np.nan, np.float32) for name in self._measures
        }
        self._verdicts: tuple[int, Verdicts] = (-1, self.reviews.verdicts(0))
        self._noted: dict[str, dict[str, str]] = {}  # corrected labels that figures and classes are of, by sample
        self.measured = 0  # samples of which everything is known
        self._ended = threading.Event()
        self._failed = ''

    # What is read.

    def start(self) -> None:
        """Read in the background from now on."""
        threading.Thread(target=self._try_to_read, name='catalogue', daemon=True).start()

    def _try_to_read(self) -> None:
        try:
            self.read()
        except (OSError, ValueError) as error:  # such as a round that a running training has replaced
            self._failed = f'the store has changed ({first_line(error)}): start the program again'

    def read(self) -> None:
        """Read all records, then what they do not say; returns when that is done, or :meth:`stop` was called."""
        for place, record in enumerate(self.records):
            if self._ended.is_set():
                return
            self._rounds[place] = record.round
            self._note(place, record)
            self._place[record.id] = place
        for place, record in enumerate(self.records):
            if self._ended.is_set():
                return
            self._note_unsaid_classes(place, record)
            for name, measure in self._measures.items():
                found = measure(record)
                self._figures[name][place] = np.nan if found is None else found
            self.measured = place + 1

    def _note(self, place: int, record: SampleRecord) -> None:
        """Classes and figures of a sample's label, which may be a person's."""
        said = self.verdicts
        applied = said.applied(record)
        self._note_classes(place, applied.classes)
        for name in record.quality:
            if name not in self._figures:
                self._figures[name] = np.full(len(self.records), np.nan, np.float32)
            self._figures[name][place] = applied.quality.get(name, np.nan)
        if record.id in said.labels:
            self._noted[record.id] = said.labels[record.id]

    def _note_corrections(self) -> None:
        """Labels that people corrected, or took back, since they were read."""
        said = self.verdicts.labels
        for id in {*said, *self._noted}:
            if said.get(id) == self._noted.get(id) or id not in self._place:
                continue
            place = self._place[id]
            record = self.records[place]
            self._noted.pop(id, None)
            self._note(place, record)
            self._note_unsaid_classes(place, record)

    def _note_unsaid_classes(self, place: int, record: SampleRecord) -> None:
        """By a look at the label, where the record does not say what it shows."""
        applied = self.verdicts.applied(record)
        if self.store.classes and not applied.classes:
            self._note_classes(place, self._classes_of(applied))

    def stop(self) -> None:
        """Let the background end."""
        self._ended.set()

    @property
    def ready(self) -> bool:
        """Whether all records have been read, which all queries but the plain one wait for."""
        return len(self._place) == len(self.records)

    def find(self, id: str) -> SampleRecord | None:
        """A sample with its corrected labels; None where there is no such."""
        record = self.store.find(id)
        return None if record is None else self.verdicts.applied(record)

    @property
    def verdicts(self) -> Verdicts:
        """What people have said until now, also in other windows."""
        size = self.reviews.size()
        if self._verdicts[0] != size:
            self._verdicts = size, self.reviews.verdicts(size)
        return self._verdicts[1]

    def _note_classes(self, place: int, shown: Mapping[str, float]) -> None:
        for number, name in enumerate(self.store.classes):
            self._shown[place, number] = name in shown

    def _classes_of(self, record: SampleRecord) -> dict[str, float]:
        """Of a record that does not say them, as those of older versions."""
        found: dict[str, float] = {}
        for task, path in self.store.annotation_paths(record).items():
            try:
                found |= self.store.codecs[task].shown(self.store.codecs[task].decode(path), record.entry)
            except (OSError, ValueError, LookupError, TypeError):  # a damaged label shows nothing
                continue
        return found

    # What it answers.

    def select(self, query: Query) -> Sequence[int] | np.ndarray:
        """Places of the chosen samples in :attr:`records`, in order.

        Raises:
            UserError: There is no such figure or class.
        """
        if query.plain:
            return range(len(self.records))
        self._note_corrections()
        for name in filter(None, (query.figure, query.sort if query.sort != 'id' else '')):
            if name not in self._figures:
                raise UserError(f'no sample has a figure {name!r}: there are {", ".join(self._figures) or "none"}')
        chosen = np.ones(len(self.records), bool)
        if query.shows:
            if query.shows not in self.store.classes:
                raise UserError(f'the store has no class {query.shows!r}')
            chosen &= self._shown[:, self.store.classes.index(query.shows)]
        if query.round is not None:
            chosen &= self._rounds == query.round
        if query.verdict:
            chosen &= self._with_verdict(query.verdict)
        for bound, compare in ((query.least, np.greater_equal), (query.most, np.less_equal)):
            if query.figure and bound is not None:
                chosen &= compare(self._figures[query.figure], bound)
        places = np.flatnonzero(chosen)
        if query.sort == 'id':
            return places[::-1] if query.descending else places
        values = self._figures[query.sort][places]
        return places[np.argsort(-values if query.descending else values, kind='stable')]  # NaN sorts last

    def _with_verdict(self, verdict: str) -> np.ndarray:
        said = self.verdicts
        ids = dict(keep=said.kept, reject=said.rejected, human=said.labels, **{'class': said.classes})
        wanted = [self._place[id] for id in ids.get(verdict, ()) if id in self._place]
        chosen = np.zeros(len(self.records), bool)
        chosen[wanted] = True
        if verdict == 'open':
            spoken = {id for group in ids.values() for id in group}
            chosen[:] = True
            chosen[[self._place[id] for id in spoken if id in self._place]] = False
        return chosen

    def page(self, query: Query, offset: int, count: int) -> dict[str, Any]:
        """Some of the chosen samples, as JSON; ``ready`` is False while they cannot be known yet."""
        if self._failed:
            raise UserError(self._failed)
        if not (query.plain or self.ready):
            return dict(ready=False, read=len(self._place), total=0, rows=[])
        places = self.select(query)
        rows = [self.row(self.records[int(place)]) for place in places[max(offset, 0) : max(offset, 0) + count]]
        return dict(ready=True, total=len(places), rows=rows)

    def row(self, record: SampleRecord) -> dict[str, Any]:
        """What the page shows of a sample, as JSON."""
        said = self.verdicts
        applied = said.applied(record)
        verdict = next((v for v, ids in (('keep', said.kept), ('reject', said.rejected)) if record.id in ids), '')
        place = self._place.get(record.id)
        figures = {name: float(self._figures[name][place]) for name in self._measures if place is not None}
        figures.update(applied.quality)
        return dict(
            id=record.id,
            round=record.round,
            source=record.source_path,
            caption=record.caption,
            T=record.T,
            quality={name: round(value, 4) for name, value in figures.items() if np.isfinite(value)},
            classes=self._names(applied, place),
            verdict=verdict,
            rejected=sorted(said.classes.get(record.id, ())),
            human=list(applied.by_hand),
        )

    def _names(self, record: SampleRecord, place: int | None) -> list[str]:
        """Classes that the label shows, those with most first."""
        if record.classes or place is None:
            return sorted(record.classes, key=lambda name: -record.classes[name])
        shown = self._classes_of(record)
        return sorted(shown, key=lambda name: -shown[name])

    def summary(self) -> dict[str, Any]:
        """What the page says of the whole store, as JSON."""
        said = self.verdicts
        self._note_corrections()
        kept = np.ones(len(self.records), bool)
        kept[[self._place[id] for id in said.rejected if id in self._place]] = False
        return dict(
            name=Path(self.store.root).resolve().name,
            samples=len(self.records),
            read=len(self._place),
            measured=self.measured,
            tasks=list(self.store.tasks),
            figures=sorted(self._figures),
            rounds=sorted(set(self._rounds.tolist())) if self.ready else [],
            counts={name: int(self._shown[kept, i].sum()) for i, name in enumerate(self.store.classes)},
            verdicts=dict(keep=len(said.kept), reject=len(said.rejected), wrong=len(said.classes)),
        )

    def review(self, act: str, id: str, name: str) -> Review | None:
        """Take down what a person says; ``undo`` as an act takes the last one back.

        Raises:
            UserError: There is no such sample, class or act.
        """
        if act == 'undo':
            return self.reviews.undo()
        if self.find(id) is None:
            raise UserError(f'the store has no sample {id!r}')
        if act == 'reject_class' and name not in self.store.classes:
            raise UserError(f'the store has no class {name!r}')
        if act == 'label':
            raise UserError('labels are corrected by tools/store.py import')
        return self.reviews.add(act, id, name)
