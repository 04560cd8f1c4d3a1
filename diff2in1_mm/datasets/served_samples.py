"""A round of a store as training sees it: without what people have rejected."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..store.listing import Records
from ..store.records import SampleRecord
from ..store.reviews import NOTHING, Reviews
from ..store.store import SyntheticStore
from ..utils.errors import UserError
from .shared_state import SharedTensor

__all__ = ['ServedSamples']


class ServedSamples:
    """Reads a store's rounds; the same in all data loader workers, while people go on reviewing.

    What is said of samples counts from the next :meth:`look_at_reviews` on, so that all workers serve the same
    list, in whichever moment they read the store.
    """

    def __init__(self) -> None:
        self.store: SyntheticStore | None = None
        self._verdicts = NOTHING
        self._reviews_size = SharedTensor(1)

    def look_at_reviews(self, root: str) -> None:
        """From now on what was said until now counts; for the main process."""
        self._reviews_size.tensor[0] = Reviews(root).size()

    def read(self, root: str | None, classes: Sequence[str] | None, round: int, warn: bool) -> Records:
        """The accepted samples of a round, sorted by id.

        Args:
            root (str | None): The store's folder.
            classes (Sequence[str] | None): That it was to be made for; None: any.
            round (int): From 0.
            warn (bool): Whether damaged samples are logged.

        Raises:
            FileNotFoundError: No store there.
            ValueError: No folder is named, or the store was made for something else.
        """
        if root is None:
            raise UserError('SyntheticMixDataset has no store: give `store=` a folder.')
        if self.store is None or self.store.root != Path(root):
            self.store = SyntheticStore(root, classes=classes, warn=warn)
        else:
            self.store.refresh(warn)
        self._verdicts = Reviews(root).verdicts(int(self._reviews_size.tensor[0]))
        return self.store.accepted(round, self._verdicts)

    def check(self, samples: Records, round: int, real: int) -> None:
        """Whether a round can be served beside so many real images.

        Raises:
            ValueError: It has no samples, or was made from another data set.
        """
        assert self.store is not None  # the samples are of it
        if not samples and self.store.records(round):
            raise UserError(
                f'every sample of round {round} in {self.store.root} was rejected: take some back with '
                'tools/browse.py, or remove reviews.jsonl there'
            )
        if not samples:
            raise UserError(
                f'the store {self.store.root} has no samples of round {round}: create '
                'them first; if the creation found none worth storing, its warnings '
                'say why.'
            )
        last = int(samples.sources.max())
        if last >= real:
            raise UserError(
                f'the store {self.store.root} was made from a data set with at least {last + 1} '
                f'images, but the wrapped one has {real}: wrap the data set that the store '
                'was made from, or create a new store.'
            )

    def point_at(self, info: dict[str, Any], record: SampleRecord) -> None:
        """Make a data set's annotation entry load the sample, with the labels that people corrected, in place."""
        assert self.store is not None
        self.store.point_at(info, record)

    def metainfo(self, record: SampleRecord) -> dict[str, Any]:
        """What training is told of a sample beside its files, where there is anything to tell.

        Returns:
            dict: ``by_hand``, kinds of labels that a person has corrected, ``rejected_classes``, indices, and
            ``unlabelled``, whether it is an unlabelled picture as it is.
        """
        assert self.store is not None
        wrong = self._verdicts.classes.get(record.id, frozenset())
        told = dict(
            by_hand=tuple(self._verdicts.labels.get(record.id, ())),
            rejected_classes=tuple(i for i, name in enumerate(self.store.classes) if name in wrong),
            unlabelled=record.unlabelled,
        )
        return {key: value for key, value in told.items() if value}

    def ignore_rejected(self, data_sample: Any, ignore_index: int = 255) -> None:
        """Take the rejected classes of a sample, see :meth:`metainfo`, out of its target in place.

        Args:
            data_sample: As packed.
            ignore_index (int): What its data set ignores in label maps.
        """
        assert self.store is not None
        rejected = data_sample.metainfo.get('rejected_classes', ())
        for codec in self.store.codecs.values() if rejected else ():
            codec.ignore_classes(data_sample, rejected, ignore_index)
