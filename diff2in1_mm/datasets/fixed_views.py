"""A fixed number of augmented views of each image, so that what is computed of a view can be kept."""

import os.path as osp
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ..utils.errors import UserError
from ..utils.randomness import stable_seed
from ..utils.values import check_whole
from .wrappers import base_datasets, resolve

__all__ = ['FixedViews', 'fixed_randomness']


class FixedViews:
    """Which random numbers a pipeline draws: those of one of an image's views, itself drawn at random.

    The numbers of a view follow from seed, image and the view's number alone, so that crop, scale, flip and colours are
    the same in every epoch, worker, process and run. They are those of Python, numpy and torch; a transform with
    random numbers of its own gives new views.

    Args:
        views (int | dict | None): How many of each image; or ``dict(count=8, seed=1)``, where another seed than 0 gives
            other views. 0 or None: the pipeline draws as ever.

    Raises:
        ValueError: Not a whole number of at least 0.
    """

    def __init__(self, views: int | dict | None) -> None:
        options = views if isinstance(views, dict) else dict(count=views or 0)
        self.count, self.seed = options.get('count', 0), options.get('seed', 0)
        if set(options) - {'count', 'seed'}:
            raise UserError(f'views takes a number, or a dict of `count` and `seed`, not {views!r}')
        check_whole('views', self.count, 0)
        check_whole('views.seed', self.seed, 0)

    def check(self, dataset: Any) -> None:
        """Refuses pipelines that join an image to those that came before, as no view of them comes again.

        Raises:
            ValueError: One sentence with the transform.
        """
        for base in base_datasets(dataset) if self.count else ():
            for transform in getattr(base.pipeline, 'transforms', ()):
                if getattr(transform, 'results_cache', None) is not None:
                    raise UserError(
                        f'views = {self.count} cannot fix what {type(transform).__name__} draws, which joins an image '
                        'to those that came before: take it out of the pipeline, or set views=0'
                    )

    @contextmanager
    def of(self, image: str) -> Iterator[None]:
        """While active, random numbers are those of a view of this image.

        Args:
            image (str): What tells it from others.
        """
        if not self.count:
            yield
            return
        view = int(np.random.randint(self.count))
        with fixed_randomness(stable_seed('view', self.seed, image, view)):
            yield

    def of_entry(self, dataset: Any, index: int):
        """:meth:`of` a sample of a data set, in wrappers or not: by the name of its file, so that it has the same views
        in a data set of other images, and under all indices by which a wrapper repeats it."""
        return self.of(_name(dataset, index) if self.count else '')


def _name(dataset: Any, index: int) -> str:
    _, base, place = resolve(dataset, index)
    return osp.basename(base.get_data_info(place).get('img_path') or str(place))


@contextmanager
def fixed_randomness(seed: int) -> Iterator[None]:
    """Seeds Python, numpy and torch's CPU generator, and gives them their states back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
