"""Class indices of the training pipeline <-> values in an annotation file.

MMSegmentation's ``LoadAnnotations`` changes the values that it reads (``reduce_zero_label``, then
``label_map``). What the store writes must come out of it as what ``theta_C`` predicted.
"""

from collections.abc import Mapping

import numpy as np

from ..utils.errors import UserError


def loaded_labels(reduce_zero_label: bool = False, label_map: Mapping[int, int] | None = None) -> np.ndarray:
    """What ``LoadAnnotations`` makes of every file value.

    Args:
        reduce_zero_label: As in the data set: value 0 is ignored, the others move down by one.
        label_map: As in the data set (class index in the file -> class index in training), or None.

    Returns:
        uint8 array (256,): entry ``v`` is the label that a file value ``v`` becomes.
    """
    table = np.arange(256)
    if reduce_zero_label:
        table = np.where((table == 0) | (table == 255), 255, table - 1)
    reduced = table.copy()
    for old, new in (label_map or {}).items():
        if not 0 <= new <= 255:
            raise UserError(
                f'label_map sends class {old} to {new}, which no uint8 annotation can '
                'hold: map to a class index, or to 255 for ignored.'
            )
        table[reduced == old] = new
    return table.astype(np.uint8)


def to_raw_labels(
    labels: np.ndarray, reduce_zero_label: bool = False, label_map: Mapping[int, int] | None = None
) -> np.ndarray:
    """Inverse of ``LoadAnnotations``: training labels to file values.

    Several file values may load as the same label (every value outside a ``label_map``'s classes
    becomes 255); then 255 is taken where it is one of them, else the smallest.

    Args:
        labels: Integer array of any shape, usually (H, W), values in 0..255, 255 (or what the data
            set ignores) included.
        reduce_zero_label: See :func:`loaded_labels`.
        label_map: See :func:`loaded_labels`.

    Returns:
        uint8 array of the same shape.

    Raises:
        ValueError: A label that no file value loads as.
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f'labels are {labels.dtype}, not integers: take the argmax over the classes first.')
    loaded = loaded_labels(reduce_zero_label, label_map)
    raw_of = np.full(256, -1)
    # The last assignment stays: descending, so that the smallest value wins, then 255 over all.
    for raw_value in [*range(255, -1, -1), 255]:
        raw_of[loaded[raw_value]] = raw_value
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise UserError(
            f'labels reach from {labels.min()} to {labels.max()}, but an annotation file holds 0 to 255 only.'
        )
    raw = raw_of[labels]
    if raw.size and raw.min() < 0:
        lost = sorted(np.unique(labels[raw < 0]).tolist())
        raise UserError(
            f'no value in an annotation file is read as label {lost} with reduce_zero_label={reduce_zero_label} and '
            f'label_map={dict(label_map) if label_map else None}: check that the model was trained on this data set.'
        )
    return raw.astype(np.uint8)
