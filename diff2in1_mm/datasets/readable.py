"""The next sample in place of one that cannot be read."""
from typing import Any, Callable, List, Optional, Tuple

__all__ = ['NoSample', 'ReadableView']

_MAX_FAILURES = 50  # in a row; then it is not one file that is broken


class NoSample(Exception):
    """An index gives no sample.

    Args:
        path: Of the file that cannot be read; '' where the pipeline filtered the sample out.
    """

    def __init__(self, path: str = '') -> None:
        super().__init__(path)
        self.path = path


class ReadableView:
    """Samples as a data set, in which the next one takes the place of one that is not there.

    Mixing wrappers (Mosaic, MixUp) draw their other images from it, so that a broken file is met
    where it is known which one it is.

    Args:
        kind: Of the samples, for the error: 'real' or 'synthetic'.
        load: Sample of an index; None or :class:`NoSample` where there is none.
        length: Number of samples.
        first: Index that nothing replaces: a mixing wrapper's result counts as the sample of its
            first image. :class:`NoSample` is raised instead.
        dataset: Where attributes come from that transforms ask a data set for, such as ``metainfo``
            or ``get_cat_ids``.
    """

    def __init__(self, kind: str, load: Callable[[int], Optional[dict]], length: int,
                 first: Optional[int] = None, dataset: Any = None) -> None:
        self._kind, self._load, self._length = kind, load, length
        self._first, self._dataset = first, dataset

    def __len__(self) -> int:
        return self._length

    def __getattr__(self, name: str) -> Any:
        dataset = self.__dict__.get('_dataset')
        if dataset is None:
            raise AttributeError(f'{type(self).__name__} has no attribute {name!r}')
        return getattr(dataset, name)

    def __getitem__(self, index: int) -> dict:
        """The sample, or the next one that is there.

        Raises:
            NoSample: It is the ``first`` and not there.
            RuntimeError: See :meth:`read`.
        """
        if index == self._first:
            results = self._load(index)
            if results is None:
                raise NoSample
            return results
        return self.read(index)[1]

    def read(self, index: int) -> Tuple[int, dict]:
        """The sample that stands for an index, with its own index.

        Args:
            index: Any whole number; MMCV's transforms draw the index ``len(dataset)`` too.

        Raises:
            RuntimeError: None of many in a row is there.
        """
        tries = min(self._length, _MAX_FAILURES)
        failed: List[str] = []
        for i in ((index + k) % self._length for k in range(tries)):
            try:
                results = self._load(i)
            except NoSample as missing:
                failed += [missing.path] if missing.path else []
                continue
            if results is not None:
                return i, results
        what = f'could be read (the last file: {failed[-1]})' if failed else \
            'came out of the pipeline'
        raise RuntimeError(f'none of {tries} {self._kind} samples in a row {what}: check the files '
                           'and the pipeline.')
