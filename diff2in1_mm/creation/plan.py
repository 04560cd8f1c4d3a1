"""Which samples a creation makes, in which batches, and which process makes which.

The plan depends on the data set, the seed and the settings only, never on the number of processes
or on what is done already, so that a continued creation computes the same numbers.
"""

import os.path as osp
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import chain
from types import SimpleNamespace
from typing import Any, NamedTuple

from mmcv.image import rescale_size
from PIL import Image, UnidentifiedImageError

from ..datasets.source_images import read_by
from ..store.records import MAX_COPIES
from ..store.store import SyntheticStore
from ..utils.errors import UserError
from ..utils.randomness import stable_seed
from ..utils.values import spread_over
from .describe import SourceDescriber
from .generator import PartialNoiseGenerator
from .settings import CreationSettings
from .unlabelled import pictures_of, places_of

PREVIEW_SAMPLES = 8
PREVIEW_PICTURES = 2  # of these, unlabelled ones: what is made is what one has to look at


class Sample(NamedTuple):
    """One sample to make.

    Attributes:
        id: In the store.
        source: Index of the source image in the real data set.
        copy: Which of its samples, from 0.
        seed: Of its noise.
        T: Step to which the source is noised; 0 where nothing is.
        picture: File of an unlabelled picture that is stored as it is; '': the source image is varied.
    """

    id: str
    source: int
    copy: int
    seed: int
    T: int
    picture: str = ''


Batch = tuple[Sample, ...]


class Plan(NamedTuple):
    """All batches of a creation: those of the preview sheet come first."""

    preview: list[Batch]
    rest: list[Batch]

    @property
    def samples(self) -> list[Sample]:
        """list[Sample]: All of them, in the order in which they are made."""
        return [sample for batch in [*self.preview, *self.rest] for sample in batch]

    def share(self, rank: int, world_size: int) -> 'Plan':
        """The batches of one process. The first makes the whole preview, and less of the rest."""
        loads = [0] * world_size
        loads[0] = sum(map(len, self.preview))
        mine: list[Batch] = []
        for batch in self.rest:
            to = loads.index(min(loads))
            loads[to] += len(batch)
            if to == rank:
                mine.append(batch)
        return Plan(self.preview if rank == 0 else [], mine)


def source_entry(dataset: Any, index: int) -> dict[str, Any]:
    """Annotation entry (``img_path``, ``seg_map_path``, ...) of a real image.

    Its ``backend_args`` tell how the data set reads these files; None: from the disk.
    """
    entry = getattr(dataset, 'source_info', dataset.get_data_info)(index)
    entry.setdefault('backend_args', read_by(dataset, index))
    return entry


def source_indices(dataset: Any) -> list[int]:
    """One index for each image of a data set; repeating wrappers have an image under several.

    Args:
        dataset: ``SyntheticMixDataset``, of which the real part counts, or any data set of
            MMEngine's kind.

    Raises:
        ValueError: There are none.
    """
    real = dataset.real if hasattr(dataset, 'source_info') else dataset
    if hasattr(real, 'full_init'):
        real.full_init()
    first: dict[str, int] = {}
    for index in range(len(real)):
        first.setdefault(source_entry(dataset, index)['img_path'], index)
    if not first:
        raise UserError(
            f'{type(real).__name__} holds no images to create samples from: check its '
            '`data_root`, `data_prefix` and `ann_file`'
        )
    return sorted(first.values())


def make_plan(
    dataset: Any,
    generator: PartialNoiseGenerator,
    settings: CreationSettings,
    seed: int,
    round: int,
    hardness: Mapping[int, float] | None = None,
) -> Plan:
    """Plan a round of samples.

    Images that are generated together must have one size and one ``T``, so the batches are filled
    by these (sizes are read from the files' headers). Unlabelled pictures come last, in batches of their own.

    Args:
        dataset: See :func:`source_indices`.
        generator (PartialNoiseGenerator): Says which ``T`` a seed draws.
        settings (CreationSettings): Copies, batch size, limit, scale.
        seed (int): Of the run.
        round (int): Of creation, from 0.
        hardness (Mapping[int, float] | None): Of each source image, for ``sources='by_hardness'``.
    """
    copies = copies_of(dataset, source_indices(dataset)[: settings.limit], settings, hardness)
    pictures = pictures_of(settings)[: settings.limit]

    def sample(source: int, copy: int, picture: str = '') -> Sample:
        own = stable_seed(seed, 'creation', round, source, copy)
        T = 0 if picture else generator.strength(own)
        return Sample(SyntheticStore.sample_id(round, source, copy), source, copy, own, T, picture)

    made = {source: [sample(source, copy) for copy in range(number)] for source, number in copies.items() if number}
    as_they_are = [sample(*place, path) for place, path in zip(places_of(len(pictures), copies), pictures)]
    shown_pictures = min(len(as_they_are), PREVIEW_PICTURES if made else PREVIEW_SAMPLES)
    first = [of_source[0] for of_source in made.values()]
    preview = [first[place] for place in spread_over(len(first), PREVIEW_SAMPLES - shown_pictures)]
    preview += [as_they_are[place] for place in spread_over(len(as_they_are), shown_pictures)]
    shown = {s.id for s in preview}
    rest = [s for s in [*chain.from_iterable(made.values()), *as_they_are] if s.id not in shown]
    sizes = {index: _size(source_entry(dataset, index)['img_path'], settings) for index in made}

    def alike(one: Sample) -> Hashable:
        return bool(one.picture), one.T, _size(one.picture, settings) if one.picture else sizes[one.source]

    return Plan(*(_fill(part, map(alike, part), settings.batch_size) for part in (preview, rest)))


def copies_of(
    dataset: Any, sources: Sequence[int], settings: CreationSettings, hardness: Mapping[int, float] | None = None
) -> dict[int, int]:
    """How many samples each source image gets.

    'by_hardness' shares the same number of samples out by rank, as FreeMask does (Yang et al. 2023): the easiest of n
    images has weight 1, the hardest n.

    'by_class_frequency' shares the same number of samples out by the rarest class of each image: in proportion to the
    root of one over the share of images that show it, as LVIS' repeat factors (Gupta et al. 2019, app. B) without their
    threshold. What is left over by rounding goes to the largest remainders; images of common classes may get none.

    Args:
        dataset: See :func:`source_indices`.
        sources (Sequence[int]): Indices of the source images.
        settings (CreationSettings): ``sources`` and ``copies_per_source``.
        hardness (Mapping[int, float] | None): Of each image; one that is not in it counts as the easiest.

    Raises:
        ValueError: The data set does not say what its images show.
    """
    if settings.sources == 'uniform':
        return dict.fromkeys(sources, settings.copies_per_source)
    total = len(sources) * settings.copies_per_source
    if settings.sources == 'by_hardness':
        by_loss = sorted(sources, key=lambda source: ((hardness or {}).get(source, 0.0), source))
        return _shared_out(total, {source: float(rank) for rank, source in enumerate(by_loss, 1)})
    describe = SourceDescriber(dataset, SimpleNamespace(wants_classes=True))
    shown = {source: describe(source_entry(dataset, source), source).classes for source in sources}
    counts = Counter(name for classes in shown.values() for name in classes)
    if not counts:
        raise UserError("creation.sources='by_class_frequency' finds no class in any source image: set it to 'uniform'")
    weights = {
        source: max(((len(sources) / counts[name]) ** 0.5 for name in classes), default=1.0)
        for source, classes in shown.items()
    }
    return _shared_out(total, weights)


def _shared_out(total: int, weights: Mapping[int, float]) -> dict[int, int]:
    """So many samples in proportion to weights, as whole numbers."""
    exact = {source: weight * total / sum(weights.values()) for source, weight in weights.items()}
    copies = {source: int(share) for source, share in exact.items()}
    by_remainder = sorted(weights, key=lambda source: (copies[source] - exact[source], source))
    for source in by_remainder[: total - sum(copies.values())]:
        copies[source] += 1
    return {source: min(number, MAX_COPIES) for source, number in copies.items()}


def _fill(samples: Sequence[Sample], keys: Iterable[Hashable], size: int) -> list[Batch]:
    """Batches of samples with equal keys; a batch is there as soon as it is full."""
    batches: list[Batch] = []
    waiting: dict[Hashable, list[Sample]] = {}
    for sample, key in zip(samples, keys):
        waiting.setdefault(key, []).append(sample)
        if len(waiting[key]) == size:
            batches.append(tuple(waiting.pop(key)))
    return batches + [tuple(part) for part in waiting.values()]


def _size(path: str, settings: CreationSettings) -> tuple[int, int] | None:
    """(w, h) at which an image is varied; None where all have one, or its file cannot be read."""
    if settings.scale is not None and not settings.keep_ratio:
        return None
    size = _header_size(path)
    return size if size is None or settings.scale is None else rescale_size(size, tuple(settings.scale))


def _header_size(path: str) -> tuple[int, int] | None:
    """(w, h) as the file's header says; None where it cannot be read, which shows on loading."""
    if not osp.isfile(path):
        return None
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, ValueError):
        return None
