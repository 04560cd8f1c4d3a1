"""What the page is told: the catalogue, the pictures, and the data set that the store was made from."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..store.records import SampleRecord
from ..store.store import SyntheticStore
from ..utils.errors import UserError
from .catalogue import Catalogue, Query
from .pictures import SamplePictures, agreement_with, diversity_of

__all__ = ['Session']

_MOST = 200  # samples of one answer


class Session:
    """Answers a page, see :class:`.server.Answers`.

    Args:
        store (SyntheticStore): To look at.
        beside (SyntheticStore | None): Of the same samples, labelled by another checkpoint.
        palette: Colours of the classes (classes, 3), where they are known.
        measure (bool): Work out how far each sample is from its source image (all images are read). Default False.

    Raises:
        UserError: There are no samples, or ``beside`` is of other classes or has none of them.
    """

    def __init__(
        self,
        store: SyntheticStore,
        beside: SyntheticStore | None = None,
        palette: list[list[int]] | None = None,
        measure: bool = False,
    ) -> None:
        if beside is not None and beside.classes != store.classes:
            raise UserError(
                f'{beside.root} was made for other classes than {store.root}: give one of the same data set'
            )
        if not len(store):
            raise UserError(
                f'{store.root} holds no samples to show: create some (tools/create_data.py), or give another'
            )
        if beside is not None and all(beside.find(record.id) is None for record in store.records()):
            raise UserError(
                f'{beside.root} has none of the samples of {store.root}: give one that was made from the same images, '
                'with the same settings'
            )
        figures: dict[str, Any] = {}
        if beside is not None:
            figures['agreement'] = agreement_with(store, beside)
        if measure:
            figures['diversity'] = diversity_of(store)
        self.store, self.catalogue = store, Catalogue(store, figures)
        self.pictures = SamplePictures(store, palette, beside)
        self._real: Counter[str] = Counter()
        self._real_images = 0

    def start(self, real: Iterable[Iterable[str]] = ()) -> None:
        """Read in the background from now on.

        Args:
            real: Names of the classes that each real image shows, to be counted beside those of the samples.
        """
        self.catalogue.start()
        threading.Thread(target=self.count_real, args=(real,), name='real', daemon=True).start()

    def count_real(self, real: Iterable[Iterable[str]]) -> None:
        """Count images of each class; returns when all are counted."""
        for names in real:
            self._real.update(set(names))
            self._real_images += 1

    def summary(self) -> dict[str, Any]:
        """The catalogue's, and what is the same for all samples."""
        return dict(
            self.catalogue.summary(),
            kinds=list(self.pictures.kinds),
            classes=list(self.store.classes),
            colours=self.pictures.colours.tolist(),
            real=dict(self._real),
            real_images=self._real_images,
        )

    def samples(self, values: Mapping[str, str]) -> dict[str, Any]:
        """A part of the chosen samples: see :class:`Query`, with ``offset`` and ``count``."""
        query = Query.of(values)
        offset, count = (int(values.get(name, default)) for name, default in (('offset', '0'), ('count', '50')))
        return self.catalogue.page(query, offset, min(count, _MOST))

    def picture(self, id: str, kind: str, whole: bool) -> bytes | None:
        """A JPEG; None where there is no such sample or kind."""
        record: SampleRecord | None = self.catalogue.find(id)
        if record is None or kind not in self.pictures.kinds:
            return None
        return self.pictures.get(record, kind, whole)

    def review(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Takes down an act; the sample as it is now, or None where there was nothing to undo."""
        act, id, name = (str(values.get(key, '')) for key in ('act', 'id', 'name'))
        done = self.catalogue.review(act, id, name)
        record = None if done is None else self.catalogue.find(done.sample)
        return dict(row=None if record is None else self.catalogue.row(record), verdicts=self.summary()['verdicts'])
