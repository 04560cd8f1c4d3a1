"""A diffusion model as the backbone of any MMSeg or MMDet model."""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...diffusion.attention_maps import mean_attention
from ...diffusion.families import config_options, load_diffusion
from ...diffusion.massive_channels import massive_channels
from ...diffusion.padding import crop_to_stride
from ...diffusion.taps import Tap, select_taps
from ...utils.errors import UserError
from ...utils.image_values import size_of
from ...utils.randomness import channel_dropout, sample_noise, seeded_generators
from .backbone_options import (
    check_cached_images,
    check_options,
    dtype_for_heads,
    finer_strides,
    match_strides,
    static_condition,
)
from .diffusion_holder import DiffusionHolder
from .feature_cache import FeatureCache
from .kept_features import KeptFeatures, encoded, maps_by
from .levels import join_levels, predict_levels
from .normalised import check_range
from .pyramid import fitted, output_layer


@MODELS.register_module()
class DiffusionBackbone(DiffusionHolder):
    """Inner features of one denoising pass (Diff-2-in-1, sec. 3.1; VPD, sec. 3.2).

    An image is encoded to a latent, optionally noised to a small timestep, and the U-Net runs once;
    its inner maps are the features, one per stride, finest first.

    The diffusion model is frozen unless ``train`` or ``text_adapter`` say otherwise, and held outside the module tree,
    see :class:`DiffusionHolder`.

    Args:
        diffusion (str | dict): Source of the model, or the arguments of :func:`load_diffusion` (``source``, ``dtype``,
            ``variant``, ``revision``, and those of its family).
        taps (str | Sequence[str]): 'decoder' (the last map at each stride of the decoder, VPD's four on Stable
            Diffusion), 'all' (Diff-2-in-1's 25 maps, concatenated per stride), or module names. Default 'decoder'.
        timestep (int | Sequence[int]): Level of the perception pass; VPD takes 1, Diff-2-in-1 0. Several are run as
            one batch, and their maps joined. Default 1.
        join_levels (str): How: 'concat' (channels side by side) or 'mean'. Default 'concat'.
        noise (bool): Add noise of that level, as Diff-2-in-1 does, the same for several. It derives from (seed,
            iteration, sample) in training and is the same for every image otherwise. Default False.
        sample_posterior (bool): Sample the latent, as Diff-2-in-1 does, rather than take the mean. Default False.
        scale_latents (bool): False only for checkpoints of the VPD code. Default True.
        attention_maps (bool): Append the U-Net's cross-attention maps, one per token of the condition, to the maps of
            each stride that has them, see :meth:`DiffusionModel.attention_layers`; VPD does so for segmentation, with
            ``ClassNames``. Default False.
        massive_above (float | None): Set channels to zero whose mean magnitude is so many times the median of their
            map, see :func:`massive_channels`; for raw outputs of transformers, for example 20. Default None.
        image_scale (int): Look at images that are enlarged so many times (bicubic), as DiTF doubles them (Gan et al.
            2025): maps are finer by as much, for a pass of its square's pixels. Default 1.
        keep_padding (bool): Pad images with mid-grey and leave that part in the maps, as VPD's depth code does, whose
            head cuts it off (``padded_stride``). Default False.
        condition (dict | None): A condition that is the same for every image: ``Prompt``,
            ``ClassNames`` or ``PrecomputedEmbeddings``. None is the empty prompt.
        input_mean (Sequence[float] | float): ``mean`` of the data preprocessor. Default 127.5.
        input_std (Sequence[float] | float): ``std`` of the data preprocessor. Default 127.5.
        input_bgr (bool): The data preprocessor leaves the images BGR (``bgr_to_rgb=False``). Default False.
        out_channels (Sequence[int | None] | None): Project the maps to these channels (1x1 convolutions, trained), as
            a stock neck or head expects them. A map whose entry is None stays as it is, neither projected nor resized:
            for maps that no head reads (``in_index``), whose projection would get no gradient, which DDP forbids.
        out_strides (Sequence[int] | None): Resize the maps to these strides. As many as there are maps, from fine to
            coarse, are taken in order; otherwise each takes the map of the nearest stride. With ``out_channels`` a
            transformer, whose maps have one stride, gets a trained pyramid, see :func:`pyramid_level`.
        feature_dropout (float): Share of feature channels dropped in training. Default 0.
        cached_images (int): Keep the frozen maps of so many images in memory, see
            :class:`FeatureCache`; for small data sets without photometric augmentation. Default 0.
        feature_cache (dict | None): Keep frozen maps or latents on disk, in training; arguments of
            :class:`KeptFeatures`. Default None.
        save_frozen (bool): Write the frozen weights into checkpoints. Default False.
        train (str | dict | None): Train the denoiser along: 'full' (VPD, at a lower rate than the head), or
            ``dict(type='lora', rank=16, alpha=rank, targets=...)``, see :func:`with_gradients`. Images are generated
            with the pretrained weights. Default None.
        text_adapter (bool): Train VPD's adapter of the condition, see :class:`TextAdapter`. Default False.
        with_cp (bool): Gradient checkpointing: compute inner values of the denoiser again in the backward pass rather
            than keep them. Default False.
        pretrained (str | None): What MMSeg passes down from a stock config; ignored with a warning.
        init_cfg (dict | None): Of the projections.

    Attributes:
        out_channels (tuple[int]): Channels of the maps that :meth:`forward` gives.
        strides (tuple[int]): Image pixels per element of those maps.
        unread (set[int]): Numbers of the maps whose ``out_channels`` are None.

    Example:
        >>> backbone = DiffusionBackbone('diff2in1_mm/rooms').eval()
        >>> [tuple(map.shape) for map in backbone.features(torch.zeros(1, 3, 64, 96))]  # RGB, from -1 to 1
        [(1, 32, 16, 24), (1, 64, 8, 12), (1, 128, 4, 6), (1, 160, 2, 3)]
    """

    def __init__(
        self,
        diffusion: str | dict,
        taps: str | Sequence[str] = 'decoder',
        timestep: int | Sequence[int] = 1,
        join_levels: str = 'concat',
        noise: bool = False,
        sample_posterior: bool = False,
        scale_latents: bool = True,
        attention_maps: bool = False,
        massive_above: float | None = None,
        image_scale: int = 1,
        keep_padding: bool = False,
        condition: dict | None = None,
        input_mean: float | Sequence[float] = 127.5,
        input_std: float | Sequence[float] = 127.5,
        input_bgr: bool = False,
        out_channels: Sequence[int | None] | None = None,
        out_strides: Sequence[int] | None = None,
        feature_dropout: float = 0.0,
        cached_images: int = 0,
        feature_cache: dict | None = None,
        save_frozen: bool = False,
        train: str | dict | None = None,
        text_adapter: bool = False,
        with_cp: bool = False,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(input_mean, input_std, input_bgr, init_cfg)
        if pretrained is not None:
            warnings.warn(
                f'`pretrained={pretrained}` belongs to the backbone that DiffusionBackbone replaces and is ignored; '
                'its weights come from `diffusion`'
            )
        check_cached_images(cached_images, bool(noise or sample_posterior or train or text_adapter))
        options = config_options(diffusion, 'backbone.diffusion')
        model = load_diffusion(**options)
        self.levels = check_options(model, timestep, join_levels, feature_dropout, input_std, massive_above)
        self._hold(model, static_condition(model, condition), save_frozen)
        self.join_levels, self.noise, self.sample_posterior = join_levels, noise, sample_posterior
        self.scale_latents, self.feature_dropout, self.massive_above = scale_latents, feature_dropout, massive_above
        self.attention_maps, self.image_scale, self.keep_padding = attention_maps, image_scale, keep_padding
        self.groups = select_taps(model.taps(), taps)
        self._kept_channels: dict[str, Tensor] = {}
        self.attention_layers = model.attention_layers() if attention_maps else {}
        self.tap_strides = finer_strides(self.groups, image_scale, attention_maps or keep_padding)
        self._served: tuple[Tensor, ...] | None = None
        self._drawn = 0
        self._unchecked = {'pixels', 'latents', 'maps'}  # looked at in the first batch only
        self._cache = FeatureCache(cached_images) if cached_images else None
        self._init_outputs(out_channels, out_strides)
        read = {i for output, i in enumerate(self.output_maps) if output not in self.unread}
        self._train_along(train, text_adapter, with_cp, self.levels[0], self._names_of(read))
        self.feature_cache = KeptFeatures.of(self, feature_cache)

    def _init_outputs(self, out_channels, out_strides) -> None:
        """Decide which map feeds which output, and make the projections."""
        self.strides = tuple(out_strides or self.tap_strides)
        self.output_maps = match_strides(self.strides, self.tap_strides)
        if self.attention_maps and not self.attention_layers.keys() & set(self.tap_strides):
            raise UserError(
                f'backbone.attention_maps finds no cross-attention at the strides of the taps '
                f'{self.tap_strides} that is coarser than the latents: choose other taps, or switch it off'
            )
        tokens = self._condition.sequence.shape[1]
        repeats = len(self.levels) if self.join_levels == 'concat' else 1
        self.tap_channels = [
            repeats * (sum(tap.channels for tap in group) + tokens * (stride in self.attention_layers))
            for group, stride in zip(self.groups, self.tap_strides)
        ]
        raw = [self.tap_channels[i] for i in self.output_maps]
        wanted = tuple(out_channels or raw)
        if len(wanted) != len(self.strides):
            raise UserError(f'out_channels {wanted} and the strides {self.strides} must have the same length')
        self.out_channels = tuple(i if o is None else o for i, o in zip(raw, wanted))
        self.unread = {i for i, channels in enumerate(wanted) if channels is None}
        self.projections = None
        if out_channels is not None:
            pyramid = out_strides is not None and len({tap.stride for tap in self.diffusion.taps()}) == 1
            strides = [self.tap_strides[0] if pyramid else s for s in self.strides]
            self.projections = nn.ModuleList(map(output_layer, raw, wanted, strides, self.strides))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of a batch.

        Args:
            images (Tensor): Normalised by the data preprocessor, shape (N, 3, H, W), any size.

        Returns:
            tuple[Tensor]: Map ``k`` has shape (N, out_channels[k], ceil(H / strides[k]), ceil(W / strides[k])), finest
            first; H and W of the padded image with ``keep_padding``; in the dtype of ``images`` unless autocast is on;
            contiguous. Unread ones have their own size.
        """
        given = self.features(images) if self._served is None else self._served
        # served or cached ones can be of a pass under autocast, in the diffusion model's dtype
        maps = [feature.to(dtype_for_heads(feature.dtype, images.dtype, images.device.type)) for feature in given]
        if self.training and self.feature_dropout:
            generators = seeded_generators(*self._draw('feature dropout'), samples=range(len(images)))
            maps = channel_dropout(maps, self.feature_dropout, generators)
        outputs = [maps[i] for i in self.output_maps]
        if self.projections is not None:
            # A 1x1 convolution and a bilinear resize commute; this order is the cheaper one.
            outputs = [project(feature) for project, feature in zip(self.projections, outputs)]
        height, width = self._covered(size_of(images))
        sizes = [(math.ceil(height / s), math.ceil(width / s)) for s in self.strides]
        layers = self.projections or [None] * len(outputs)
        outputs = [
            feature if i in self.unread else fitted(feature, size, layer)
            for i, (feature, size, layer) in enumerate(zip(outputs, sizes, layers))
        ]
        return tuple(feature.contiguous() for feature in outputs)

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps of a batch as the diffusion model gives them: :meth:`maps` of its :meth:`latents`, or kept ones.

        Args:
            images (Tensor): As :meth:`forward` takes them.

        Returns:
            tuple[Tensor]: One map per stride of the taps, finest first, without gradient where it is frozen,
            contiguous; in the dtype of ``images``, under autocast see :func:`dtype_for_heads`.
        """
        run = maps_by(self, self._run)
        return run(images) if self._cache is None else self._cache.get(images, run)

    def share_features(self, cache: FeatureCache) -> None:
        """Keep maps in a cache that other backbones of the same model and options share, where this one keeps any."""
        if self._cache is not None:
            self._cache = cache

    def _run(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.maps(self.latents(images), size_of(images), images.dtype)

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """The first step of :meth:`features`: one encoding.

        Args:
            images (Tensor): As :meth:`forward` takes them.

        Returns:
            Tensor: Clean latents of the padded images, N rows, in the diffusion model's dtype.
        """
        generators = None
        if self.sample_posterior:
            generators = seeded_generators(*self._draw('posterior'), samples=self._tell_apart(len(images)))
        latents = encoded(self, images, generators)
        self._once('latents', self.diffusion.check_finite, 'latents', [latents])
        return latents

    def pixels(self, images: Tensor) -> Tensor:
        """What the autoencoder is given of images."""
        pixels = self.to_unit_range(images)
        self._once('pixels', check_range, pixels)
        if self.image_scale > 1:
            pixels = F.interpolate(pixels, scale_factor=float(self.image_scale), mode='bicubic')
        pixels = pixels.clamp(-1, 1)
        if self.keep_padding:
            height, width = self._covered(size_of(pixels))
            pixels = F.pad(pixels, (0, width - pixels.shape[-1], 0, height - pixels.shape[-2]))
        return pixels

    def maps(self, latents: Tensor, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
        """The second step of :meth:`features`: noise, if there is to be any, and one pass of the denoiser.

        Args:
            latents (Tensor): What :meth:`latents` gave.
            size (tuple[int, int]): Height and width of the images before padding, in pixels.
            dtype (torch.dtype): Of the result, unless autocast is on.

        Returns:
            tuple[Tensor]: As :meth:`features`.
        """
        noised = [latents] * len(self.levels)
        if self.noise:
            generators = seeded_generators(*self._draw('noise'), samples=self._tell_apart(len(latents)))
            noise = sample_noise(generators, latents)
            noised = [self.diffusion.add_noise(latents, noise, level) for level in self.levels]
        taps = predict_levels(self.perception, noised, self.levels, self.told, self.tap_names)
        maps = join_levels(self.from_taps(taps, size, dtype), len(self.levels), self.join_levels)
        self._once('maps', self.perception.check_finite, 'maps', maps)
        return maps

    def from_taps(
        self, maps: dict[str, Tensor], size: tuple[int, int], dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, ...]:
        """The maps of :meth:`features` from a U-Net pass that was made elsewhere.

        The last denoising step of a generated image gives its features for free.

        Args:
            maps (dict[str, Tensor]): Outputs of the modules in :attr:`tap_names`.
            size (tuple[int, int]): Height and width of the images before padding, in pixels.
            dtype (torch.dtype): Of the result, unless autocast is on.

        Returns:
            tuple[Tensor]: As :meth:`features`.
        """
        first = maps[self.groups[0][0].name]
        dtype = dtype_for_heads(first.dtype, dtype, first.device.type)
        height, width = (side * self.image_scale for side in self._covered(size))
        # The taps are of one dtype, which an autocast of another one would refuse to join.
        with torch.autocast(first.device.type, enabled=False):
            found = [
                crop_to_stride(self._joined(maps, group), (height, width), group[0].stride).to(dtype)
                for group in self.groups
            ]
        # On GPUs the U-Net runs in channels_last, and cropping leaves a view. Layers pass the
        # layout on, and MMCV's RoIAlign takes any memory for a contiguous map, without a word.
        return tuple(feature.contiguous() for feature in found)

    def _joined(self, maps: dict[str, Tensor], group: list[Tap]) -> Tensor:
        """All channels (N, C, h, w) of one stride: the taps, then the attention maps."""
        parts = [self._without_massive(maps[tap.name], tap) for tap in group]
        layers = self.attention_layers.get(group[0].stride)
        if layers:
            parts.append(mean_attention(maps, layers, size_of(parts[0])))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _without_massive(self, feature: Tensor, tap: Tap) -> Tensor:
        """A map (N, C, h, w) whose massive channels are zero; which they are is found out for the first one."""
        if self.massive_above is None:
            return feature
        if not self._kept_channels:
            taps = [each for group in self.groups for each in group]
            height, width = (side * tap.stride for side in size_of(feature))
            found = massive_channels(
                self.diffusion, taps, (height, width), self.levels[0], self._condition, self.massive_above
            )
            self._kept_channels = {name: (~massive)[:, None, None] for name, massive in found.items()}
        return feature * self._kept_channels[tap.name].to(feature.device)

    def _covered(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels that the maps cover, of an image of that size."""
        if not self.keep_padding:
            return size
        stride = self.diffusion.stride
        return math.ceil(size[0] / stride) * stride, math.ceil(size[1] / stride) * stride

    @property
    def tap_names(self) -> list[str]:
        """list[str]: Modules of the U-Net whose outputs (or attention) are needed."""
        return self._names_of(range(len(self.groups)))

    def _names_of(self, chosen: Iterable[int]) -> list[str]:
        """Of the maps with these numbers: taps, then attention layers."""
        chosen = sorted(chosen)
        names = [tap.name for i in chosen for tap in self.groups[i]]
        for i in chosen:
            names += self.attention_layers.get(self.tap_strides[i], [])
        return names

    @contextmanager
    def serve(self, features: Sequence[Tensor]):
        """While active, :meth:`forward` starts from these maps and runs no diffusion model.

        Args:
            features (Sequence[Tensor]): What :meth:`features` gave, or rows of it.
        """
        before, self._served = self._served, tuple(features)
        try:
            yield self
        finally:
            self._served = before

    @contextmanager
    def drawing(self, number: int):
        """While active, noise and posterior samples outside training are those of this number; 0 is the usual one."""
        before, self._drawn = self._drawn, number
        try:
            yield self
        finally:
            self._drawn = before

    def _once(self, what: str, check: Callable[..., None], *values: Any) -> None:
        """Check the first batch only, as looking at values waits for the device."""
        if what in self._unchecked:
            check(*values)
            self._unchecked.discard(what)

    def _draw(self, purpose: str) -> tuple:
        """What this iteration's random numbers derive from, see :func:`seeded_generators`."""
        if not self.training:
            return ('perception', purpose, self._drawn) if self._drawn else ('perception', purpose)
        info = MessageHub.get_current_instance().runtime_info
        seed, iteration = info.get('seed') or 0, info.get('iter', 0)
        return ('perception', purpose, seed, iteration, get_rank())

    def _tell_apart(self, count: int) -> Sequence[int]:
        """Outside training every image gets the same noise, so that batches do not matter."""
        return range(count) if self.training else [0] * count
