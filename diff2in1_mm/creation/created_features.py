"""Keeping what the pass that labels a fresh sample computes, where it is what training will ask for."""

from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..datasets.fixed_views import fixed_randomness
from ..datasets.synthetic_mix import SyntheticMixDataset
from ..store.store import SyntheticStore
from ..utils.errors import first_line
from .background import BackgroundWriter
from .batch_labels import BatchLabels

__all__ = ['CreatedFeatures']

_DRAWS = 32  # after which what is as likely as not has come


class CreatedFeatures:
    """Has a backbone's ``feature_cache`` keep the features of fresh samples as they are labelled.

    Training recognises an image by its pixels, after its pipeline has drawn one of the sample's views. Where that is
    the whole image as it was stored, as where the pipeline only flips, the features are those of the pass that labels.
    Where it always crops, scales or colours they would never be found. So the first samples are served as training will
    be, through the data set's own pipeline, and the others are kept where one of these comes as it was labelled.

    Args:
        labels (BatchLabels): What labels, and is told to keep.
        dataset: See :func:`create`.
    """

    def __init__(self, labels: BatchLabels, dataset: Any) -> None:
        self._labels, self._dataset = labels, dataset
        kept = getattr(labels.backbone, 'feature_cache', None) is not None
        # What changes batches hardly ever leaves an image as it was, and may wait for other processes.
        changed = getattr(getattr(labels.model, 'data_preprocessor', None), 'batch_augments', None)
        self._open = kept and not labels.last_step and not labels.of_source and not changed

    def look(self, store: SyntheticStore, writer: BackgroundWriter) -> None:
        """Before each batch; the first time that the store has samples it shows whether to keep those that follow.

        Args:
            store (SyntheticStore): Of the creation.
            writer (BackgroundWriter): What writes to it.
        """
        if not self._open:
            return
        writer.flush()
        rounds = store.rounds()
        if not rounds:
            return
        self._open = False
        self._labels.keeps = self._comes_again(store, max(rounds))
        if self._labels.keeps:
            print_log('feature_cache keeps the features of samples as they are created.', 'current')

    @torch.no_grad()
    def _comes_again(self, store: SyntheticStore, round: int) -> bool:
        """Whether a sample that training is served is the image that was labelled."""
        real = getattr(self._dataset, 'real', self._dataset)
        try:
            with fixed_randomness(0):
                served = SyntheticMixDataset(real, store=str(store.root))
                served.serve(round)
                slots = range(len(real), len(served))
                return any(self._is_labelled_one(served[slots[i % len(slots)]], store) for i in range(_DRAWS))
        except Exception as error:  # of a pipeline; training will say it if it is still there
            why = f'{type(error).__name__}: {first_line(error)}'
            print_log(f'feature_cache does not keep samples as they are created ({why}).', 'current', level=30)
            return False

    def _is_labelled_one(self, results: dict, store: SyntheticStore) -> bool:
        sample = results['data_samples']
        record = store.find(sample.sample_id)
        if record is None:  # another process has added it since
            return False
        image = torch.from_numpy(store.read(record)[0]).permute(2, 0, 1)[None]
        device = next(self._labels.model.parameters()).device
        labelled = self._labels.looked_at(image.to(device))
        asked = self._labels.model.data_preprocessor(dict(inputs=[results['inputs']], data_samples=[sample]), True)
        return _equal(labelled, asked['inputs'])


def _equal(first: Tensor, other: Tensor) -> bool:
    return first.shape == other.shape and torch.equal(first, other)
