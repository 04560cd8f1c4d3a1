"""Deterministic tensors from names alone, so that golden values need no weight files.

``fill(name, shape)`` gives the same float32 array on every machine. ``fill_state_dict``
fills a whole model by its parameter and buffer names. Both sides of a comparison call it
with the names of the *reference* implementation; a port maps the names to its own.
"""

import zlib

import numpy as np


def fill(name, shape, kind=None):
    """Array for one tensor.

    Args:
        name (str): the tensor's name; the only source of randomness.
        shape (tuple[int]): its shape.
        kind (str | None): 'weight' (matrix or filter, scaled by 1/sqrt(fan_in)), 'gain'
            (1 + 0.1 n), 'bias' (0.1 n), 'variance' (|1 + 0.1 n| + 1e-3), 'input' (n) or
            'count' (zeros). None guesses it from the name and the rank.
    """
    shape = tuple(int(s) for s in shape)
    noise = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    if kind is None:
        leaf = name.rsplit('.', 1)[-1]
        if 'num_batches' in leaf:
            kind = 'count'
        elif 'var' in leaf:
            kind = 'variance'
        elif 'mean' in leaf or leaf == 'bias' or leaf.endswith('_bias'):
            kind = 'bias'
        elif len(shape) >= 2:
            kind = 'weight'
        else:
            kind = 'gain'
    if kind == 'count':
        value = np.zeros(shape)
    elif kind == 'variance':
        value = np.abs(1 + 0.1 * noise) + 1e-3
    elif kind == 'gain':
        value = 1 + 0.1 * noise
    elif kind == 'bias':
        value = 0.1 * noise
    elif kind == 'weight':
        value = noise / np.sqrt(max(1, int(np.prod(shape[1:]))))
    elif kind == 'input':
        value = noise
    else:
        raise ValueError(f'unknown kind {kind!r}')
    return value.astype(np.float32)


def fill_state_dict(shapes):
    """``{name: shape}`` to ``{name: array}``."""
    return {name: fill(name, shape) for name, shape in shapes.items()}


def positions(name, size, count=256):
    """The flat positions at which a golden output of ``size`` elements is recorded."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(('positions:' + name).encode())))
    return np.sort(generator.choice(size, min(count, size), replace=False))
