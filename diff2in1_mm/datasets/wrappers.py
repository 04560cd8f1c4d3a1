"""From an index of a wrapped data set to the data set that loads it.

``ConcatDataset``, ``RepeatDataset``, ``ClassBalancedDataset`` and torch's ``Subset`` only choose;
``MultiImageMixDataset`` (Mosaic, MixUp) also has a pipeline of its own.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from mmengine.dataset import BaseDataset

from ..utils.errors import UnfitError


class Source(NamedTuple):
    """Where a sample comes from.

    Attributes:
        mixers: Mixing wrappers on the way, outermost first.
        base: The data set with the annotation entry and the loading pipeline.
        place: Index in ``base``.
    """

    mixers: tuple[Any, ...]
    base: BaseDataset
    place: int


def resolve(dataset: Any, index: int) -> Source:
    """Follows an index through the wrappers.

    Raises:
        IndexError: No such sample.
        TypeError: A wrapper that is none of those above.
    """
    if not 0 <= index < len(dataset):
        raise IndexError(f'{type(dataset).__name__} has {len(dataset)} samples, no index {index}.')
    mixers = []
    while not isinstance(dataset, BaseDataset):
        if is_mixer(dataset):
            mixers.append(dataset)
            dataset = dataset.dataset
        else:
            dataset, index = _choose(dataset, index)
    return Source(tuple(mixers), dataset, int(index))


def outermost_mixer(dataset: Any, index: int) -> tuple[Any, int]:
    """The first mixing wrapper that :func:`resolve` would meet, and the sample's index in it.

    Where there is none, that is the data set that loads the sample.

    Raises:
        TypeError: As :func:`resolve`.
    """
    while not isinstance(dataset, BaseDataset) and not is_mixer(dataset):
        dataset, index = _choose(dataset, index)
    return dataset, int(index)


def _choose(dataset: Any, index: int) -> tuple[Any, int]:
    """One step inwards, through a wrapper that only chooses."""
    if hasattr(dataset, 'datasets') and hasattr(dataset, '_get_ori_dataset_idx'):
        member, index = dataset._get_ori_dataset_idx(index)
        return dataset.datasets[member], index
    if hasattr(dataset, 'dataset') and hasattr(dataset, '_get_ori_dataset_idx'):
        return dataset.dataset, dataset._get_ori_dataset_idx(index)
    if hasattr(dataset, 'dataset') and hasattr(dataset, 'indices'):
        return dataset.dataset, int(dataset.indices[index])
    raise UnfitError(
        f'{type(dataset).__name__} cannot be mixed with synthetic samples: it must be an MMEngine BaseDataset, or '
        'ConcatDataset, RepeatDataset, ClassBalancedDataset or MultiImageMixDataset around one.'
    )


def is_mixer(dataset: Any) -> bool:
    """Whether this wrapper joins several images into one."""
    return all(hasattr(dataset, name) for name in ('dataset', 'pipeline_types', 'update_skip_type_keys'))


def distinct_sources(dataset: Any) -> list[int]:
    """Indices of ``dataset`` with one for each underlying image, in ascending order.

    Repeating wrappers have the same image under many indices; creation wants each only once.
    """
    seen, indices = set(), []
    for index in range(len(dataset)):
        _, base, local = resolve(dataset, index)
        if (id(base), local) not in seen:
            seen.add((id(base), local))
            indices.append(index)
    return indices


def leaves(dataset: Any) -> Iterator[Any]:
    """What lies inside all wrappers, of whatever kind: data sets, or their configs where they are not built yet."""
    get = dataset.get if isinstance(dataset, dict) else partial(getattr, dataset)
    held = get('datasets', None) or [get('dataset', None)]
    if held == [None]:
        yield dataset
    else:
        for member in held:
            yield from leaves(member)


def base_datasets(dataset: Any) -> Iterator[BaseDataset]:
    """The data sets of MMEngine's kind inside all wrappers."""
    return (leaf for leaf in leaves(dataset) if isinstance(leaf, BaseDataset))
