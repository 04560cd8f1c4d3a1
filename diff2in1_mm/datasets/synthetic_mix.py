"""Real samples and, from the creation stage on, synthetic ones from a store."""

import copy
import logging
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.dataset import force_full_init
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from torch import Tensor

from ..store.listing import RecordGone, Records
from ..store.records import SampleRecord
from ..tasks.coco import masks_to_polygons
from ..utils.errors import UnfitError, UserError
from ..utils.values import is_number
from .fixed_views import FixedViews
from .folders import build_checked
from .readable import NoSample, ReadableView, unreadable_file
from .served_samples import ServedSamples
from .shared_state import NamedOnce, SharedRound, SharedTensor, SharedText
from .slot_order import Turns, real_images, upright_images
from .synthetic_pipelines import SyntheticPipelines, loads_label_maps, wants_polygons, with_label_map
from .wrappers import outermost_mixer, resolve


@DATASETS.register_module()
class SyntheticMixDataset:
    """Outermost wrapper: the wrapped data set, and synthetic slots behind it.

    Indices below the number of real samples are these. Each slot beyond gives a real sample too
    (``slot % n_real``; the last slots, too few for all, take some that are spread over the data
    set) until :meth:`serve` names a round of the store; then, at its v-th visit by the process of
    rank r, sample ``(slot + (v + r) * slots) % n`` of the round, so that all n samples get their
    turn also when they are more than the slots. Where annotation entries tell that some images are
    upright and others wide, slots of upright ones take turns with the samples of such, and the
    others with the others (:class:`Turns`). A synthetic sample goes through the pipeline of the
    data set that its source image is from, in place of that image.

    Wrappers that join several images (``MultiImageMixDataset`` with Mosaic or MixUp) stay inside
    and keep the kinds apart: real images are joined with real ones, and a synthetic image only
    with synthetic images of the served round, through the same transforms. The result counts as the
    sample of its first image. Transforms that remember images (``CachedMosaic``, ``CachedMixUp``)
    remember those of the two kinds apart.

    After the pipeline every ``data_samples`` has the metainfo ``synthetic`` (bool) and
    ``sample_id`` (str, '' for a real one), and where people have reviewed the store what
    :class:`ServedSamples` says. Samples that they rejected are not served; a review counts from the next start (or
    round) on.

    A file that cannot be read is named once in a warning, counted in :attr:`unreadable`, and
    replaced by the next readable sample of the same kind; errors of the pipeline itself are raised.

    Args:
        dataset: Data set or wrapper to wrap, or its config.
        store: Folder of the :class:`SyntheticStore`; it need not exist before the first ``serve``.
            None: set :attr:`store_root` before that.
        ratio: Synthetic slots per real sample, >= 0.
        round: Round of ``store`` that is served from the start, for a store that is there already
            (0 for one by ``tools/create_data.py``) and a run without creation. None: real samples
            until :meth:`serve` is called, as ``SelfImprovingHook`` does.
        views: Of each image, see :class:`FixedViews`; for ``feature_cache`` of the backbone. None: any.
        lazy_init: As in MMEngine's wrappers.

    Attributes:
        views (FixedViews): What that says.

    Raises:
        ValueError: ``ratio`` is not a number >= 0; see also :meth:`serve`, :func:`build_checked`.
        FileNotFoundError: A folder of the wrapped data set is missing or empty, or the store.
    """

    def __init__(
        self,
        dataset: dict | Any,
        store: str | None = None,
        ratio: float = 1.0,
        round: int | None = None,
        lazy_init: bool = False,
        views: int | dict | None = None,
    ) -> None:
        if not is_number(ratio, 0):
            raise UserError(
                f'ratio={ratio!r} is not the number of synthetic slots per real sample: give a number >= 0, as 1.0.'
            )
        if isinstance(dataset, dict):
            dataset = build_checked(dataset)
        elif not hasattr(dataset, 'get_data_info'):
            raise UnfitError(
                f"dataset should be a config or a data set of MMEngine's kind, but is {type(dataset).__name__}."
            )
        self.dataset, self.views = dataset, FixedViews(views)
        self.views.check(dataset)
        # Shared: an iteration-based loop starts the workers before any hook can name the folder.
        self._store_root = SharedText('' if store is None else str(store))
        self.ratio, self._first_round = ratio, round
        self._metainfo = dataset.metainfo
        self._round = SharedRound()
        self._named = NamedOnce()
        self._seen = self._round.get()
        self._turns: Turns | None = None
        self._samples = ServedSamples()
        self._pipelines = SyntheticPipelines()
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    # What MMEngine's wrappers have.

    @property
    def metainfo(self) -> dict:
        """Copy of the wrapped data set's meta information."""
        return copy.deepcopy(self._metainfo)

    def full_init(self) -> None:
        """Initialises the wrapped data set and fixes the length."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        self._n_real = len(self.dataset)
        self._slots = math.floor(self.ratio * self._n_real + 0.5)
        self._visits = SharedTensor(self._slots, dtype=torch.int32)
        self._since = SharedTensor(self._slots, dtype=torch.int32)
        self._upright = SharedTensor(self._n_real, dtype=torch.uint8)
        self._knows_upright = False
        self._rank = get_rank()  # workers do not know it
        self._fully_initialized = True
        if self._first_round is not None:
            self.serve(self._first_round)

    @force_full_init
    def __len__(self) -> int:
        return self._n_real + self._slots

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Annotation entry of the real sample; of a slot's real sample beyond."""
        return self.dataset.get_data_info(self._real_index(idx))

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Categories of the real sample; of a slot's real sample beyond."""
        return self.dataset.get_cat_ids(self._real_index(idx))

    def get_subset_(self, indices: Any) -> None:
        """Not supported, as in MMEngine's wrappers."""
        raise NotImplementedError('take the subset of the wrapped data set, then wrap it in SyntheticMixDataset.')

    def get_subset(self, indices: Any) -> None:
        """Not supported, as in MMEngine's wrappers."""
        self.get_subset_(indices)

    def _get_ori_dataset_idx(self, idx: int) -> int:
        return self._real_index(idx)

    def update_skip_type_keys(self, skip_type_keys: Any) -> None:
        """Passed on to a mixing wrapper, for MMDetection's YOLOXModeSwitchHook."""
        self.dataset.update_skip_type_keys(skip_type_keys)

    @property
    def pipeline(self) -> Any:
        """The wrapped data set's pipeline; can be set, as MMDetection's PipelineSwitchHook does."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    # What this one adds.

    @property
    def real(self) -> Any:
        """The wrapped data set."""
        return self.dataset

    @property
    def store_root(self) -> str | None:
        """Folder of the store; can be set until it is first served."""
        return self._store_root.get() or None

    @store_root.setter
    def store_root(self, root: Any) -> None:
        self._store_root.set(str(root))

    @property
    def serving(self) -> int | None:
        """Round that is served, None for real samples only."""
        round = self._round.get()[1]
        return None if round < 0 else round

    @property
    def unreadable(self) -> int:
        """Number of unreadable samples met so far, by all workers of this process."""
        return len(self._named)

    def unreadable_everywhere(self) -> int:
        """The same of all processes of a distributed run, all of which have to call this."""
        return self._named.count_everywhere()

    @force_full_init
    def source_info(self, idx: int) -> dict:
        """Annotation entry (``img_path``, ``seg_map_path``, ...) of a real sample, unprocessed,
        and the ``backend_args`` by which its data set reads these files."""
        _, base, index = resolve(self.dataset, idx)
        return dict(base.get_data_info(index), backend_args=_backend_args(base))

    @property
    @force_full_init
    def visits(self) -> Tensor:
        """How often this process has drawn each slot, int32 (slots,); shared with its workers."""
        return self._visits.tensor

    @property
    @force_full_init
    def since(self) -> Tensor:
        """:attr:`visits` when the present round was served first; workers may have gone on."""
        return self._since.tensor

    @force_full_init
    def serve(self, round: int | None, since: Tensor | None = None) -> None:
        """Fills the slots from a round of the store (None: real samples again). Workers follow at
        their next sample; what they prefetched before still comes.

        Args:
            round: Number of the round, from 0.
            since: :attr:`visits` when this round was served first, in a run that resumes. None:
                that is now.

        Raises:
            FileNotFoundError: No store at ``store_root``.
            ValueError: The store was made for something else, or has no samples of this round.
        """
        if round is not None:
            if round < 0:
                raise UserError(f'round {round} is not a creation round: they count from 0.')
            if self.store_root is not None:
                self._samples.look_at_reviews(self.store_root)
            self._samples.check(self._read_store(round, warn=True), round, self._n_real)
            self._look_for_upright()
        self._since.tensor.copy_(self.visits if since is None else since)
        self._round.set(-1 if round is None else round)

    @force_full_init
    def __getitem__(self, idx: int) -> dict:
        idx = self._positive(idx)
        if idx < self._n_real:
            return self._real(idx)
        slot = idx - self._n_real
        visit = int(self._visits.tensor[slot] - self._since.tensor[slot])
        self._visits.tensor[slot] += 1
        while True:
            turns, round = self._served_turns(), self._seen[1]
            # a resumed run draws again what was drawn before the first round began
            if turns is None or visit < 0 and round == 0:
                return self._real(self._real_index(idx))
            try:
                return self._synthetic(*turns.of(slot, visit + self._rank))
            except RecordGone:
                if self._round.get() == self._seen:
                    raise  # otherwise the round ended meanwhile

    def _positive(self, idx: int) -> int:
        if not -len(self) <= idx < len(self):
            raise IndexError(f'index {idx} is out of range for {len(self)} samples.')
        return idx % len(self)

    def _real_index(self, idx: int) -> int:
        return int(real_images(np.array(self._positive(idx)), self._n_real, self._slots))

    def _read_store(self, round: int, warn: bool) -> Records:
        classes = self._metainfo.get('classes') if isinstance(self._metainfo, dict) else None
        return self._samples.read(self.store_root, classes, round, warn)

    def _look_for_upright(self) -> None:
        """Once, for all workers: it reads all annotation entries."""
        if not self._knows_upright:
            self._upright.tensor.copy_(upright_images(self.dataset))
            self._knows_upright = True

    def _served_turns(self) -> Turns | None:
        served = self._round.get()
        if served != self._seen:
            self._turns = None
            if served[1] >= 0:
                # The main process has named the damaged samples already.
                samples = self._read_store(served[1], warn=False)
                slots = real_images(np.arange(self._n_real, len(self)), self._n_real, self._slots)
                self._turns = Turns(samples, self._upright.tensor, slots) if len(samples) else None
            self._seen = served
            self._pipelines.forget()
        return self._turns

    def _real(self, index: int) -> dict:
        with self.views.of_entry(self.dataset, index):
            return _mark(self._view_of_real(self.dataset)[index], synthetic=False, sample_id='')

    def _view_of_real(self, dataset: Any, first: int | None = None) -> ReadableView:
        return ReadableView('real', lambda i: self._load_real(dataset, i), len(dataset), first, dataset)

    def _load_real(self, dataset: Any, index: int) -> dict | None:
        mixers, base, local = resolve(dataset, index)
        if mixers:
            mixer, index = outermost_mixer(dataset, index)
            return _over(mixer, self._view_of_real(mixer.dataset, index))[index]
        try:
            return dataset[index]
        except Exception as error:
            path = self._name_unreadable(error, base.get_data_info(local), _backend_args(base))
            raise NoSample(path) from error

    def _synthetic(self, first: int, samples: Records) -> dict:
        with self.views.of(samples[first % len(samples)].id):
            index, results = self._view_of_synthetic(samples).read(first)
        results = _mark(results, synthetic=True, sample_id=samples[index].id, **self._samples.metainfo(samples[index]))
        _, base, _ = resolve(self.dataset, samples[index].source)
        self._samples.ignore_rejected(results['data_samples'], getattr(base, 'ignore_index', 255))
        return with_label_map(results) if loads_label_maps(base.pipeline) else results

    def _name_unreadable(self, error: Exception, info: dict, backend_args: dict | None = None) -> str:
        """Path of the file that could not be read; raises ``error`` if it is no such case."""
        path = unreadable_file(info, error, backend_args)
        if not path:
            raise error
        if self._named.first(path):
            print_log(
                f'{path} cannot be read ({type(error).__name__}: {error}); another sample takes its place.',
                'current',
                level=logging.WARNING,
            )
        return path

    def _synthetic_info(self, record: SampleRecord) -> dict:
        """The source image's entry, pointed at the synthetic files."""
        _, base, index = resolve(self.dataset, record.source)
        info = base.get_data_info(index)  # a copy, made anew by every call
        if loads_label_maps(base.pipeline):
            info.pop('seg_map_path', None)  # it shows the source image; a store with label maps sets its own
        self._samples.point_at(info, record)
        info['synthetic'] = True  # for transforms that change real images alone
        if wants_polygons(base.pipeline):
            masks_to_polygons(info)
        return info

    def _view_of_synthetic(self, samples: Records, depth: int = 0, first: int | None = None) -> ReadableView:
        classes = SimpleNamespace(metainfo=self._metainfo)  # which mixing transforms ask for
        return ReadableView(
            'synthetic', lambda i: self._load_synthetic(samples, i, depth), len(samples), first, classes
        )

    def _load_synthetic(self, samples: Records, index: int, depth: int) -> dict | None:
        """Sample ``index`` through the pipelines inside the ``depth`` outermost mixing wrappers."""
        record = samples[index]
        mixers, base, _ = resolve(self.dataset, record.source)
        if depth < len(mixers):
            return _over(mixers[depth], self._view_of_synthetic(samples, depth + 1, index))[index]
        try:
            return self._pipelines.of(base)(self._synthetic_info(record))
        except Exception as error:
            path = self._name_unreadable(error, self._synthetic_info(record))
            raise NoSample(path) from error


def _over(mixer: Any, view: ReadableView) -> Any:
    """A mixing wrapper with its transforms, but over the samples of a view."""
    mixer = copy.copy(mixer)
    mixer.dataset = view
    return mixer


def _backend_args(base: Any) -> dict | None:
    return getattr(base, 'backend_args', None)


def _mark(results: dict, **metainfo: Any) -> dict:
    sample: Any = results.get('data_samples') if isinstance(results, dict) else None
    if not hasattr(sample, 'set_metainfo'):
        raise UnfitError(
            'SyntheticMixDataset marks `data_samples`, but the pipeline gave none: end it with PackSegInputs, '
            'PackSceneInputs or PackDetInputs.'
        )
    sample.set_metainfo(metainfo)
    return results
