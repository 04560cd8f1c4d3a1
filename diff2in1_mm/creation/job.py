"""One process's share of a creation: the loop that generates, labels and stores."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log

from ..datasets.looks import Looks
from ..diffusion.condition import Condition
from ..diffusion.conditions.source import Source
from ..diffusion.contract import DiffusionModel
from ..store.records import SampleRecord
from ..store.store import SyntheticStore
from ..utils.errors import UserError
from ..utils.image_values import to_bytes, to_unit_range
from ..utils.randomness import stable_seed
from .background import BackgroundWriter, Progress, duration, size
from .batch_labels import BatchLabels, Label
from .class_levels import level_painter
from .composing import composer_of, read_source
from .control import Control
from .created_features import CreatedFeatures
from .describe import SourceDescriber
from .generator import PartialNoiseGenerator, known_to
from .label_filter import ClassLossFilter, filter_of
from .plan import Batch, Plan, Sample, source_entry
from .preview import write_preview
from .settings import CreationSettings
from .unlabelled import read_picture

_TEXTS_AT_ONCE = 512


@dataclass
class CreationReport:
    """What one process did.

    Attributes:
        samples: Samples that it made.
        present: Samples of its share that were there before.
        seconds: Of the whole call.
        skipped: Paths of source images that could not be read.
        empty: Samples of its share that are not stored, as the model found nothing in them, now or
            before.
        ignored: Mean share of ignored pixels (boxes) in what it made.
        bytes: Written to the disk.
    """

    samples: int = 0
    present: int = 0
    seconds: float = 0.0
    skipped: list[str] = field(default_factory=list)
    empty: int = 0
    ignored: float = 0.0
    bytes: int = 0


class _Loaded(NamedTuple):
    """Samples of a batch whose images have one size."""

    samples: list[Sample]
    entries: list[dict[str, Any]]
    images: np.ndarray  # uint8 (N, H, W, 3), RGB
    levels: np.ndarray | None  # of noise by pixel, uint16 (N, H, W)
    shown: np.ndarray | None  # to a control branch, uint8 (N, H, W, 3)
    own: list[Mapping[str, Label | None]] | None  # labels of the sources that are theirs, by task

    def alike(self) -> list[int]:
        """For each image the first one that equals it: copies of one source, where nothing is pasted or recoloured."""
        found: list[int] = []
        for i, sample in enumerate(self.samples):
            same = (j for j in found if self.samples[j].source == sample.source)
            found.append(next((j for j in same if np.array_equal(self.images[j], self.images[i])), i))
        return found


@dataclass
class CreationJob:
    """What a creation needs, and its loop.

    Attributes:
        dataset, store, generator, diffusion, labels, settings: What to join.
        round, checkpoint: Go into the records.
        progress: Say how far it is.
        control: What the diffusion model follows beside its condition.
        hardness: Of source images, for the records; None: not measured.
        report: What was done.
    """

    dataset: Any
    store: SyntheticStore
    generator: PartialNoiseGenerator
    diffusion: DiffusionModel
    labels: BatchLabels
    settings: CreationSettings
    round: int
    checkpoint: str
    progress: bool
    control: Control | None = None
    hardness: Mapping[int, float] | None = None

    def __post_init__(self) -> None:
        self.report = CreationReport()
        self._describe = SourceDescriber(self.dataset, self.generator.condition)
        self._described: dict[int, Source] = {}
        self._stored = self.store.ids(self.round)
        self._written: list[int] = []
        # A sample that is there counts, whatever a note says.
        self._empty = self.store.empty(self.round, self.checkpoint) - self._stored
        self._done = self._stored | self._empty
        self._static: Condition | None = None
        self._paint = level_painter(self.generator, self.labels, self.dataset)
        self._compose = composer_of(self.settings, self.labels.tasks, self.dataset)
        self._look = None if self.settings.look is None else Looks(self.settings.look, 'creation.look')
        self._filter: ClassLossFilter | None = None  # measured when something is to be made
        self._created = CreatedFeatures(self.labels, self.dataset)
        self._pace = 0.0  # seconds per sample of the last batch

    def run(self, whole: Plan, share: Plan, world_size: int) -> None:
        """Make what is missing of ``share``; ``whole`` is what all processes make."""
        leads = bool(share.preview)
        share = Plan(*map(self._pending, share))
        todo = [batch for part in share for batch in part]
        varied = [batch for batch in todo if not batch[0].picture]
        self._check_condition(varied)
        if varied:
            self._filter = filter_of(self.settings, self.labels, self.dataset)
        with Progress(sum(map(len, todo)), self.progress) as bar, BackgroundWriter() as writer:
            self._make(share.preview, writer, bar)
            if leads:
                writer.flush()
                if share.preview or not (self.store.root / 'preview.png').exists():
                    write_preview(self.store, self.dataset, whole.preview, self.settings)
                self._estimate(whole, world_size)
            self._make(share.rest, writer, bar)
        if not self.report.samples and not self.report.present:
            self._tell_why_nothing(world_size)
        self.report.ignored /= max(self.report.samples, 1)
        self.report.bytes = sum(self._written)

    def _tell_why_nothing(self, world_size: int) -> None:
        """Nothing was stored of this share; other processes may have been luckier with theirs."""
        why = ''
        if self.report.empty and self.labels.contradicting == self.report.empty:
            why = (
                f'none of {self.report.empty} images was stored: the labels of its tasks agree less than '
                'creation.consistency asks for; loosen it, or warm up longer'
            )
        elif self.report.empty:  # first: these images were read, whatever others were not
            why = (
                f'none of {self.report.empty} images was stored: the model found nothing sure enough in them '
                f"(confidence {self.labels.labeller.confidence}; boxes below test_cfg's score_thr do not count "
                'either); lower `confidence`, warm up longer, or set labelling=dict(allow_empty=True); a training run '
                'goes on from here with --resume'
            )
        elif self.report.skipped:
            why = f'none of the images could be read (the first: {self.report.skipped[0]}): check the data set'
        if why and world_size == 1:
            raise UserError(why)
        if why:
            print_log(f'In the share of this process {why}.', 'current', level=30)

    def _pending(self, batches: Sequence[Batch]) -> list[Batch]:
        """Batches with a missing sample: whole ones, so that the numbers stay the same."""
        ids = [sample.id for batch in batches for sample in batch]
        self.report.present += sum(id in self._stored for id in ids)
        self.report.empty += sum(id in self._empty for id in ids)
        return [b for b in batches if any(sample.id not in self._done for sample in b)]

    def _check_condition(self, batches: Sequence[Batch]) -> None:
        """Make every embedding once up front: a missing caption must not stop the long part.

        Those that the embedder's cache cannot hold are made again later, some hundred at a time.
        """
        condition, text = self.generator.condition, self.diffusion.text
        if not condition.per_image:
            self._static = condition.embed(text)
            self.diffusion.check_condition(self._static)
            return
        with text.kept():
            for part in _parts(batches, _TEXTS_AT_ONCE):
                self.diffusion.check_condition(self._embed_sources(part))

    def _embed_sources(self, batches: Sequence[Batch]) -> Condition:
        """Embeddings of all sources of some batches, for the cache."""
        return self._embed(list(dict.fromkeys(self._source(sample) for batch in batches for sample in batch)))

    def _embed(self, sources: Sequence[Source]) -> Condition:
        return self.generator.condition.embed(self.diffusion.text, sources)

    def _source(self, sample: Sample) -> Source:
        index = sample.source
        if index not in self._described:
            self._described[index] = self._describe(source_entry(self.dataset, index), index)
        found = self._described[index]
        return replace(found, seed=sample.seed) if getattr(self.generator.condition, 'draws', False) else found

    def _make(self, batches: Sequence[Batch], writer: BackgroundWriter, bar: Progress) -> None:
        """Generate, label and store batches."""
        for part in _parts(batches, _TEXTS_AT_ONCE):
            varied = [batch for batch in part if not batch[0].picture]
            if self._static is None and varied:
                self._embed_sources(varied)  # at once, so that the text encoder is loaded once
            for batch, groups in zip(part, self._loaded(part)):
                start = time.monotonic()
                for group in groups:
                    self._created.look(self.store, writer)
                    self._make_group(group, writer)
                if not batch[0].picture:
                    self._pace = (time.monotonic() - start) / len(batch)
                bar.advance(len(batch))

    def _make_group(self, group: '_Loaded', writer: BackgroundWriter) -> None:
        """Samples with one size and one ``T``, or unlabelled pictures of one size."""
        images = torch.from_numpy(group.images).to(self.diffusion.device).permute(0, 3, 1, 2)
        if group.samples[0].picture:
            pixels = images
            labels: Sequence[Label | None] = self.labels.of_unlabelled(images, group.entries)
        else:
            pixels, labels = self._varied(group, images)
        for sample, entry, image, label in zip(
            group.samples, group.entries, pixels.permute(0, 2, 3, 1).cpu().numpy(), labels
        ):
            if sample.id in self._done:
                continue
            if label is None:
                writer.submit(self.store.add_empty, sample.id, self.round, self.checkpoint)
                self.report.empty += 1
            else:
                writer.submit(self._store, self._record(sample, entry, label), image, label.annotation)
                self.report.samples += 1
                self.report.ignored += label.quality['ignored']

    def _varied(self, group: '_Loaded', images: torch.Tensor) -> tuple[torch.Tensor, Sequence[Label | None]]:
        """Pixels of what is made of source images, uint8 (N, 3, H, W), and their labels."""
        samples = group.samples
        told = self._static
        if told is None:
            told = self._embed([self._source(sample) for sample in samples])
        own = known_to(self.generator, alike=group.alike())
        kept, levels = {}, self.generator.by_class
        if levels is not None and group.levels is not None:
            own['levels'] = torch.from_numpy(group.levels.astype(np.int32)).to(images.device)
            kept['kept'] = group.levels < levels.default
        seeds = [sample.seed for sample in samples]
        following: AbstractContextManager[None] = nullcontext()
        if self.control is not None and group.shown is not None:
            following = self.control.applied(self.diffusion, group.shown)
        with following:
            generated, taps = self.generator.generate(
                self.diffusion, to_unit_range(images), told, seeds, samples[0].T, self.labels.tap_names, **own
            )
        pixels = to_bytes(generated)
        labels = self.labels(pixels, taps, group.entries, own=group.own, **kept)
        return pixels, labels if self._filter is None else self._filter(pixels, labels, group.entries)

    def _store(self, record: SampleRecord, image: np.ndarray, annotation: Any) -> None:
        self._written.append(self.store.add(record, image, annotation))

    def _record(self, sample: Sample, entry: dict[str, Any], label: Label) -> SampleRecord:
        condition = self.generator.condition
        told = hasattr(condition, 'text') and not sample.picture
        hard = None if sample.picture else (self.hardness or {}).get(sample.source)
        return SampleRecord(
            id=sample.id,
            round=self.round,
            source=sample.source,
            source_path=entry['img_path'],
            copy=sample.copy,
            seed=sample.seed,
            T=sample.T,
            steps=0 if sample.picture else self.generator.steps_for(sample.T),
            solver='' if sample.picture else self.generator.solver,
            caption=condition.text(self._source(sample)) if told else '',
            checkpoint=self.checkpoint,
            quality=label.quality if hard is None else dict(label.quality, hardness=hard),
            classes={
                name: share
                for task, codec in self.store.codecs.items()
                for name, share in codec.shown(label.annotation[task], entry).items()
            },
            reading=_reading(entry),
        )

    def _loaded(self, batches: Sequence[Batch]) -> Iterator[list['_Loaded']]:
        """Batches as pictures, each read while the one before is made."""
        with ThreadPoolExecutor(1, 'loader') as loader:
            coming = loader.submit(self._load, batches[0])
            for following in [*batches[1:], None]:
                groups, failures = coming.result()
                if following is not None:
                    coming = loader.submit(self._load, following)
                self._name_failures(failures)
                yield groups

    def _load(self, batch: Batch) -> tuple[list['_Loaded'], dict[str, Exception]]:
        """Read a batch: its readable samples, those of one size together, and what failed."""
        groups: dict[tuple, list[tuple]] = {}
        failures: dict[str, Exception] = {}
        for sample in batch:
            path = sample.picture or source_entry(self.dataset, sample.source)['img_path']
            try:
                read = self._read(sample)
            except Exception as error:  # whatever a decoder raises on a broken file, of the image or its label
                if isinstance(error, UserError) and not isinstance(error, OSError):  # about settings
                    raise
                failures[path] = error
                continue
            groups.setdefault(read[1].shape, []).append((sample, *read))
        return [_together(*map(list, zip(*group))) for group in groups.values()], failures

    def _read(self, sample: Sample) -> tuple[Any, ...]:
        """The entry that says how a sample's labels are read, its picture, uint8 (H, W, 3), and what
        :class:`_Loaded` has of it behind that."""
        entry = source_entry(self.dataset, sample.source)
        if sample.picture:
            image = read_picture(sample.picture, self.dataset, sample.source, self.settings)
            return dict(entry, img_path=sample.picture), image, None, None, None
        image = read_source(self.dataset, sample.source, self.settings)
        if self._compose is not None:
            image, entry = self._compose(sample, entry, image)
        if self._look is not None:
            image = self._look(image, stable_seed(sample.seed, 'look'))
        levels = None if self._paint is None else self._paint(entry, image.shape[:2])
        shown = None if self.control is None else self.control.paint(entry, image)
        (own,) = self.labels.own_labels(image.shape[:2], [entry])
        return entry, image, levels, shown, own

    def _name_failures(self, failures: dict[str, Exception]) -> None:
        for path, error in failures.items():
            if path not in self.report.skipped:
                self.report.skipped.append(path)
                print_log(f'{path} cannot be read ({error}): no samples are made from it.', 'current', level=30)

    def _estimate(self, whole: Plan, world_size: int) -> None:
        """Say what the long part will take, and stop if the disk cannot hold it."""
        made = self.store.ids(self.round)  # what this process has written, too: the writer is idle
        done = made | self.store.empty(self.round, self.checkpoint)
        to_come = [sample for sample in whole.samples if sample.id not in done]
        missing = len(to_come)
        if not made or not missing:
            return
        needed = missing * self.store.size(self.round) / len(made)
        free = shutil.disk_usage(self.store.root).free
        if needed > free:
            raise UserError(
                f'{missing} more samples need about {size(needed)}, but {self.store.root} has {size(free)} free: free '
                'some space or give another folder; what is there will be continued'
            )
        if self.progress:
            # A continued creation has not timed a batch yet.
            varied = sum(not sample.picture for sample in to_come)
            pace = f'{duration(varied * self._pace / world_size)} and ' if self._pace and varied else ''
            print_log(
                f'{missing} more samples will take about {pace}{size(needed)} of disk; see '
                f'{self.store.root / "preview.png"} for the first ones.',
                'current',
            )


def _together(samples: list[Sample], entries: list, images: list, levels: list, shown: list, own: list) -> _Loaded:
    def stacked(maps: list) -> np.ndarray | None:
        return None if maps[0] is None else np.stack(maps)

    return _Loaded(samples, entries, np.stack(images), stacked(levels), stacked(shown), None if own[0] is None else own)


def _reading(entry: dict[str, Any]) -> dict[str, Any]:
    """How the data set reads label maps, where that changes values; JSON types."""
    changes: dict[str, Any] = dict(reduce_zero_label=True) if entry.get('reduce_zero_label') else {}
    if entry.get('label_map'):
        changes['label_map'] = {str(old): int(new) for old, new in entry['label_map'].items()}
    return changes


def _parts(batches: Sequence[Batch], samples: int) -> Iterator[list[Batch]]:
    """Runs of batches with about so many samples."""
    part: list[Batch] = []
    for batch in batches:
        part.append(batch)
        if sum(map(len, part)) >= samples:
            yield part
            part = []
    if part:
        yield part
