"""Frozen features of images that come again, kept on disk for later epochs, processes and runs."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.logging import MessageHub, print_log
from torch import Tensor

from ...diffusion.padding import latent_stride
from ...diffusion.precision import DTYPES
from ...utils.atomic_files import write_atomic
from ...utils.errors import UnusableFileError, UserError
from ...utils.image_values import size_of
from ...utils.kept_on_disk import KeptOnDisk, Tensors
from ...utils.values import check_choice, is_number
from .backbone_options import cache_folder, check_cached_views, dtype_for_heads
from .feature_cache import Maps, pixel_key
from .feature_description import described

_SCALE, _LARGEST = '.scale', 127  # of int8
_ENOUGH = 1000  # images after which a cache that finds nothing again says so
_IDLE = 100  # batches, all found, after which the diffusion model leaves the device


class KeptFeatures:
    """What ``feature_cache`` of :class:`DiffusionBackbone` says, and the files behind it.

    An image is recognised by its pixels as the backbone sees them, so that whatever crops, flips or colours it gives
    what belongs to it. In training only, as what a model is tested with comes once; but for images that are just
    created, see :meth:`created`. What is found is what was kept, rounded to its dtype; an image that is not there yet
    is given the same rounding, so that a run does not depend on who came first.

    Args:
        folder (str): Shared by processes and runs. Each model with each choice of features has a subfolder, whose
            ``about.json`` says what it is of.
        views (int | dict): Views of each image, see :class:`diff2in1_mm.datasets.fixed_views.FixedViews`; 0: the
            pipeline of the data set draws nothing. For the data set, which ``tools/train.py`` tells. Default 8.
        dtype (str): 'fp16', 'bf16' or 'fp32', on disk; or 'int8', maps with a scale for each channel of an image, half
            of the size of 'fp16'. Default 'fp16'.
        keep (str): 'maps', which leaves nothing of the diffusion model to do; or 'latents', mean and deviation of the
            autoencoder's posterior, which also serve noise, posterior sampling and a trained denoiser. Default 'maps'.
        limit (float): Gigabytes at most, of 1e9 bytes. Default 100.

    Raises:
        ValueError: A value is out of range, or a file lies where the folder is to be.
    """

    def __init__(
        self, folder: str, views: int | dict = 8, dtype: str = 'fp16', keep: str = 'maps', limit: float = 100.0
    ) -> None:
        check_choice('feature_cache.dtype', dtype, (*DTYPES, 'int8'))
        check_choice('feature_cache.keep', keep, ('maps', 'latents'))
        if dtype == 'int8' and keep == 'latents':
            raise UserError(
                "feature_cache.dtype='int8' is for maps, latents are small as it is: set dtype='fp16', or keep='maps'"
            )
        check_cached_views(views)
        if not is_number(limit) or limit <= 0:
            raise UserError(f'feature_cache.limit = {limit!r} must be a number of gigabytes above 0')
        self.folder, self.views, self.dtype, self.limit = (
            cache_folder(folder),
            views,
            DTYPES.get(dtype, torch.int8),
            limit,
        )
        self.keep = keep
        self._kept: KeptOnDisk | None = None
        self._told = self._paused = False
        self._created: tuple[int, int] | None = None
        self._idle = 0

    def __deepcopy__(self, memo: dict) -> 'KeptFeatures':
        """Shared, as the frozen model is whose features these are."""
        return self

    def check(self, backbone: Any) -> None:
        """Refuses a backbone whose features are others every time.

        Raises:
            ValueError: One sentence with what to change.
        """
        changing = [name for name in ('noise', 'sample_posterior') if getattr(backbone, name)]
        if self.keep == 'maps' and changing:
            raise UserError(
                f'backbone.feature_cache keeps maps that are the same every time, but {" and ".join(changing)} '
                "changes them: set feature_cache.keep='latents', or switch it off"
            )
        model = backbone.diffusion
        if self.keep == 'latents' and (getattr(model, 'vae', None) is None or not hasattr(model, 'moments')):
            raise UserError(
                f"feature_cache.keep='latents' keeps what an autoencoder gives, and {model.source!r} has "
                "none: set feature_cache.keep='maps'"
            )

    def check_frozen(self, backbone: Any) -> None:
        """Refuses maps that change with every step.

        Raises:
            ValueError: The denoiser is trained, or what it is told is.
        """
        if self.keep == 'maps' and not backbone.frozen:
            raise UserError(
                'backbone.feature_cache keeps maps of a frozen diffusion model, but parts of this one are trained: set '
                "feature_cache.keep='latents', or leave feature_cache out"
            )

    @classmethod
    def of(cls, backbone: Any, options: dict | None) -> 'KeptFeatures | None':
        """What ``feature_cache`` of a backbone says, checked; None: there is none."""
        if options is None:
            return None
        if not isinstance(options, dict):
            raise UserError(
                f'backbone.feature_cache = {options!r} must be a dict that names a folder: '
                "feature_cache=dict(folder='...')"
            )
        if 'folder' not in options:
            raise UserError("backbone.feature_cache needs a folder: feature_cache=dict(folder='...')")
        cache = cls(**options)
        cache.check(backbone)
        cache.check_frozen(backbone)
        return cache

    @staticmethod
    def forget(backbone: Any) -> None:
        """To be called when the weights of a backbone have become others."""
        if backbone.feature_cache is not None:
            backbone.feature_cache._kept = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While active, nothing is kept nor found: for images that will not come again."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    @contextmanager
    def created(self, size: tuple[int, int]) -> Iterator[None]:
        """While active, what is computed outside training is kept for it, and used unrounded as ever.

        Args:
            size (tuple[int, int]): Height and width of the images that training will ask for, in pixels; others, as
                labels of several scales look at, are not kept.
        """
        before, self._created = self._created, size
        try:
            yield
        finally:
            self._created = before

    def serves(self, backbone: Any, what: str) -> bool:
        """Whether these features of a backbone, 'maps' or 'latents', are looked for at present."""
        return self.keep == what and backbone.training and not self._paused

    def takes(self, backbone: Any, what: str, images: Tensor) -> bool:
        """Whether these features of images (N, 3, H, W) are to be kept though nobody looks for them at present."""
        return self.keep == what and not backbone.training and self._created == size_of(images)

    def put(self, backbone: Any, images: Tensor, tensors: Iterable[Tensor]) -> None:
        """Keeps what was computed of a batch.

        Args:
            backbone (DiffusionBackbone): Whose features they are.
            images (Tensor): Shape (N, 3, H, W), as it takes them.
            tensors (Iterable[Tensor]): N rows each, as :meth:`maps` or :meth:`latents` computes them.

        Raises:
            ValueError: Values beyond the range of the dtype.
        """
        kept = self.open(backbone)
        for image, row in zip(images, self._rows(tensors, len(images))):
            key = pixel_key(image)
            if not kept.path(key).exists():
                kept.write(key, row)

    def maps(self, backbone: Any, images: Tensor, compute: Callable[[Tensor], Maps]) -> Maps:
        """The maps of a batch, of which those that are not kept are computed together.

        Args:
            backbone (DiffusionBackbone): Whose maps they are.
            images (Tensor): Shape (N, 3, H, W), as it takes them.
            compute (Callable): From images (n, 3, H, W) to maps, each (n, C_k, h_k, w_k).

        Returns:
            tuple[Tensor]: Each (N, C_k, h_k, w_k), as ``compute`` gives them.

        Raises:
            ValueError: The denoiser is trained, or a map has values beyond the range of the dtype.
        """
        self.check_frozen(backbone)

        def make(missing: Tensor) -> list[Tensor]:
            return list(compute(missing))

        dtype = dtype_for_heads(backbone.diffusion.dtype, images.dtype, images.device.type)
        return tuple(found.to(images.device, dtype) for found in self._get(backbone, images, make))

    def latents(self, backbone: Any, images: Tensor, moments: Callable[[Tensor], Any]) -> list[Tensor]:
        """Mean and, where it is needed, deviation of the posterior of a batch.

        Args:
            backbone (DiffusionBackbone): Whose autoencoder it is.
            images (Tensor): Shape (N, 3, H, W), as it takes them.
            moments (Callable): From images (n, 3, H, W) to :meth:`LatentModel.moments`.

        Returns:
            list[Tensor]: (N, c, h, w) each, in the autoencoder's dtype; the second only for ``sample_posterior``.
        """

        found = self._get(backbone, images, lambda missing: needed(backbone, moments(missing)))
        return [tensor.to(images.device, backbone.diffusion.image_dtype) for tensor in found]

    def bytes_of(self, backbone: Any, size: tuple[int, int]) -> int:
        """What an image takes on disk.

        Args:
            backbone (DiffusionBackbone): Whose features are kept.
            size (tuple[int, int]): Height and width as it sees images, in pixels.
        """
        if self.keep == 'latents':
            model = backbone.diffusion
            vae = model.vae.config
            # of the padded image, and as the autoencoder gives them: some models fold them afterwards
            height, width = (math.ceil(side * backbone.image_scale / model.stride) * model.stride for side in size)
            size = height, width
            latents = vae.get('latent_channels') or vae['z_dim']
            channels, strides = [latents * (1 + backbone.sample_posterior)], [latent_stride(vae)]
        else:
            channels, strides = backbone.tap_channels, backbone.tap_strides
        values = sum(c * math.ceil(size[0] / s) * math.ceil(size[1] / s) for c, s in zip(channels, strides))
        scales = 4 * sum(channels) if self.dtype == torch.int8 else 0
        return int(values * self.dtype.itemsize) + scales

    def open(self, backbone: Any) -> KeptOnDisk:
        """The files of this backbone's features.

        Raises:
            OSError: The folder cannot be made or read. Here and not before: only training keeps anything, and a model
                may be tested where there is no such place.
        """
        if self._kept is None:
            self.check(backbone)
            about = json.dumps(described(backbone, self.keep) | dict(dtype=str(self.dtype)), indent=1)
            folder = self.folder / hashlib.sha256(about.encode()).hexdigest()[:16]
            try:
                if not (folder / 'about.json').is_file():
                    write_atomic(folder / 'about.json', about.encode())
            except UnusableFileError:  # it says what to do
                raise
            except OSError as error:
                raise UnusableFileError(
                    f'feature_cache.folder = {str(self.folder)!r} cannot be made or read '
                    f'({error.strerror or error}): name a folder that can be written'
                ) from error
            self._kept = KeptOnDisk(folder, self.limit * 1e9, 'features')
        return self._kept

    def _get(self, backbone: Any, images: Tensor, compute: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """Tensors of N rows on the CPU, in the dtype on disk."""
        kept, keys = self.open(backbone), [pixel_key(image) for image in images.detach().cpu()]

        def make(missing: list[str]) -> list[Tensors]:
            return self._rows(compute(images[[keys.index(key) for key in missing]]), len(missing))

        before = kept.made
        found = kept.get(keys, make)
        made = kept.made - before
        self._idle = 0 if made else self._idle + 1
        if self._idle >= _IDLE:
            backbone.rest_diffusion()
        self._tell(kept, 1 - made / len(keys))
        names = [name for name in found[0] if not name.endswith(_SCALE)]
        return [torch.stack([_restored(tensors, name) for tensors in found]) for name in sorted(names, key=int)]

    def _rows(self, tensors: Iterable[Tensor], count: int) -> list[Tensors]:
        """What is written of each of so many images."""
        parts = {name: t for n, tensor in enumerate(tensors) for name, t in self._rounded(str(n), tensor).items()}
        # Copies, so that a row does not keep its whole batch.
        return [{name: tensor[i].clone() for name, tensor in parts.items()} for i in range(count)]

    def _rounded(self, name: str, tensor: Tensor) -> dict[str, Tensor]:
        """Tensors on the CPU, as they are written, of one of N rows."""
        if self.dtype == torch.int8:
            scale = tensor.float().abs().amax((-2, -1), keepdim=True).clamp_min(1e-12) / _LARGEST
            if not scale.isfinite().all():
                raise UserError(
                    f'features of this diffusion model reach {float(tensor.abs().max()):.3g}: check its weights'
                )
            return {name: (tensor / scale).round().to(torch.int8).cpu(), name + _SCALE: scale.cpu()}
        rounded = tensor.to(self.dtype).cpu()
        if not rounded.isfinite().all():
            raise UserError(
                f'features of this diffusion model reach {float(tensor.abs().max()):.3g}, beyond what '
                f"{self.dtype} holds: set backbone.feature_cache.dtype='bf16'"
            )
        return {name: rounded}

    def _tell(self, kept: KeptOnDisk, share: float) -> None:
        """How many of a batch were there, for the log; and once, that nothing comes again."""
        MessageHub.get_current_instance().update_scalar('train/cache_hits', share)
        if kept.asked >= _ENOUGH and not self._told:
            self._told = True
            if kept.asked - kept.made < max(_ENOUGH // 100, 1):
                print_log(
                    f'feature_cache found {kept.asked - kept.made} of the first {kept.asked} images again. So it is '
                    'in the first passes over the data; where it stays so (`cache_hits` in the log), the pipeline '
                    'draws new views every time: give the training data set `views`, as tools/train.py does.',
                    'current',
                    level=logging.WARNING,
                )


def _restored(tensors: Tensors, name: str) -> Tensor:
    scale = tensors.get(name + _SCALE)
    return tensors[name] if scale is None else tensors[name] * scale


def needed(backbone: Any, moments: tuple[Tensor, Tensor | None]) -> list[Tensor]:
    """Of mean and deviation of latents what a backbone draws them from: the latter for ``sample_posterior`` alone."""
    mean, deviation = moments
    return [mean, deviation] if backbone.sample_posterior and deviation is not None else [mean]


def maps_by(backbone: Any, compute: Callable[[Tensor], Maps]) -> Callable[[Tensor], Maps]:
    """What gives the maps of a batch: ``compute``, or what is kept of them on disk."""
    cache = backbone.feature_cache
    if cache is None:
        return compute
    if cache.serves(backbone, 'maps'):
        return partial(cache.maps, backbone, compute=compute)

    def run(images: Tensor) -> Maps:
        maps = compute(images)
        if cache.takes(backbone, 'maps', images):
            cache.put(backbone, images, maps)
        return maps

    return run


def encoded(backbone: Any, images: Tensor, generators: Sequence[torch.Generator] | None) -> Tensor:
    """Latents of a batch, of which mean and deviation may be kept on disk.

    Args:
        backbone (DiffusionBackbone): Whose autoencoder it is.
        images (Tensor): Shape (N, 3, H, W), as it takes them.
        generators (Sequence[torch.Generator] | None): One per image, to sample the posterior.
    """
    backbone.bring_diffusion()
    model, cache = backbone.perception, backbone.feature_cache
    if cache is not None and cache.serves(backbone, 'latents'):
        moments = cache.latents(backbone, images, lambda new: model.moments(backbone.pixels(new)))
    elif cache is not None and cache.takes(backbone, 'latents', images):
        moments = needed(backbone, model.moments(backbone.pixels(images)))
        cache.put(backbone, images, moments)
    else:
        return model.encode(backbone.pixels(images), generators, scaled=backbone.scale_latents)
    return model.drawn(*moments, generators=generators, scaled=backbone.scale_latents)
