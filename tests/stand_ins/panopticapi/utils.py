"""Segment ids as colours: R + 256 G + 65536 B."""

import numpy as np


def rgb2id(colour):
    """Colours (..., 3) to ids (...)."""
    colour = np.asarray(colour, np.int64)
    return colour[..., 0] + 256 * colour[..., 1] + 65536 * colour[..., 2]


def id2rgb(ids):
    """Ids (...) to colours (..., 3), uint8."""
    ids = np.asarray(ids)
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536 % 256], -1).astype(np.uint8)
