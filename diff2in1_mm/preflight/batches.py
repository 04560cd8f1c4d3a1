"""The second line of defence: every batch is looked at, and a value that nothing can learn from names its file."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dataset import BaseDataset, Compose
from torch import Tensor, nn

from ..datasets.readable import FILE_KEYS, unreadable_file
from ..datasets.wrappers import base_datasets
from ..utils.errors import UnusableFileError, UserError, first_line

__all__ = ['name_unreadable_files', 'watch_batches']


def watch_batches(
    model: nn.Module, learned: Mapping[str, tuple[int, int]], measured: Mapping[str, tuple[int, int]]
) -> None:
    """Has the data preprocessor look at each batch before it is moved to the device; a second call changes nothing.

    Args:
        model (nn.Module): Without wrapper.
        learned (Mapping[str, tuple[int, int]]): Number of classes and ignored label of each head, by the name of the
            option; label maps of a training batch are compared with them.
        measured (Mapping[str, tuple[int, int]]): The same of each metric, for batches that are evaluated.
    """
    preprocessor = getattr(model, 'data_preprocessor', None)
    if isinstance(preprocessor, nn.Module):
        for handle in [k for k, hook in preprocessor._forward_pre_hooks.items() if isinstance(hook, _Watch)]:
            del preprocessor._forward_pre_hooks[handle]
        preprocessor.register_forward_pre_hook(_Watch(dict(learned), dict(measured)), with_kwargs=True)


class _Watch:
    """Of a class, so that a model with it can be pickled. See :func:`watch_batches`."""

    def __init__(self, learned: dict[str, tuple[int, int]], measured: dict[str, tuple[int, int]]) -> None:
        self._learned, self._measured = learned, measured

    def __call__(self, preprocessor: nn.Module, args: tuple, options: dict) -> None:
        batch, *rest = args or (None,)
        if not isinstance(batch, dict) or not isinstance(batch.get('inputs'), Sequence):
            return  # of one's own kind
        training = rest[0] if rest else options.get('training', False)
        limits = self._learned if training else self._measured
        samples = batch.get('data_samples') or [None] * len(batch['inputs'])
        for image, sample in zip(batch['inputs'], samples):
            if _not_numbers(image):
                raise UserError(f'{_named(sample)} comes out of the pipeline with values that are not numbers: {_MEND}')
            _check_boxes(sample)
            _check_labels(sample, limits)


_MEND = 'correct the file, or the transform that makes them'


def _named(sample: Any) -> str:
    """The files of a sample, as far as its ``meta_keys`` keep them."""
    kept = getattr(sample, 'metainfo', {})
    return ' and '.join(str(kept[key]) for key in FILE_KEYS if kept.get(key)) or 'an image'


def _not_numbers(values: Any) -> bool:
    return isinstance(values, Tensor) and values.is_floating_point() and not bool(values.isfinite().all())


def _check_boxes(sample: Any) -> None:
    boxes = getattr(getattr(sample, 'gt_instances', None), 'bboxes', None)
    if _not_numbers(getattr(boxes, 'tensor', boxes)):
        raise UserError(f'boxes of {_named(sample)} come out of the pipeline as no numbers: {_MEND}')


def _check_labels(sample: Any, limits: Mapping[str, tuple[int, int]]) -> None:
    labels = getattr(getattr(sample, 'gt_sem_seg', None), 'data', None)
    if not isinstance(labels, Tensor) or labels.is_floating_point() or not labels.numel():
        return
    low, high = (int(value) for value in labels.aminmax())
    for option, (classes, ignored) in limits.items():
        if low >= 0 and high < classes:
            continue
        wrong = labels[(labels < 0) | (labels >= classes)]
        wrong = wrong[wrong != ignored].unique()
        if len(wrong):
            raise UserError(
                f'the label map of {_named(sample)} comes with {wrong[:8].tolist()}, but the classes are 0 to '
                f'{classes - 1}, and {option} is {ignored}: correct the file, or the transform that makes these labels'
            )


def name_unreadable_files(dataset: Any) -> None:
    """Has the pipelines of a data set name the file that they cannot read; a decoder itself may not.

    Args:
        dataset: Built, wrapped or not. ``SyntheticMixDataset`` does so by itself.
    """
    for base in base_datasets(dataset):
        if type(base.pipeline) is Compose:
            base.pipeline = _NamingPipeline(base)


class _NamingPipeline(Compose):
    """The transforms of a data set, in which a decoder's error names the file."""

    def __init__(self, base: BaseDataset) -> None:
        super().__init__(base.pipeline.transforms)
        self._backend_args = getattr(base, 'backend_args', None)

    def __call__(self, data: dict) -> dict | None:
        files = {key: data.get(key) for key in FILE_KEYS}
        try:
            return super().__call__(data)
        except Exception as error:
            path = unreadable_file(files, error, self._backend_args)
            if not path or isinstance(error, UserError):
                raise
            raise UnusableFileError(
                f'{path} cannot be read ({type(error).__name__}: {first_line(error)}): repair the file, or take it out '
                'of the data set'
            ) from error
