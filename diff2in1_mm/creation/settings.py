"""What a config says about the creation stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mmengine.registry import MODELS

from ..store.records import MAX_COPIES
from ..tasks.base import check_confidence
from ..tasks.consistency import check_consistency
from ..utils.errors import UserError
from ..utils.values import check_choice, check_whole, is_whole
from .generator import PartialNoiseGenerator

LABEL_SOURCES = ('fresh', 'last_step', 'source', 'by_class')


def creation_of_hook(hook: Mapping[str, Any]) -> dict:
    """What a ``SelfImprovingHook`` with these settings creates with.

    Args:
        hook (Mapping): Its arguments. ``confidence`` and ``labelling`` are taken where ``creation``
            does not have them.

    Returns:
        dict: For :meth:`CreationSettings.from_dict`.
    """
    own = {name: hook.get(name) for name in ('confidence', 'labelling')}
    return dict(own, **(hook.get('creation') or {}))


@dataclass(frozen=True)
class CreationSettings:
    """Settings of the creation stage, in a config ``creation=dict(T=400, ...)``.

    Attributes:
        T, steps, solver, condition, sample_posterior, guidance_scale, negative_prompt, T_of, T_margin: See
            :class:`PartialNoiseGenerator`. Generators of one's own get the last four where they
            are set.
        diffusion: Source of the diffusion model that generates (str, or the arguments of
            :func:`load_diffusion`). None: that of the model's ``DiffusionBackbone``.
        compose: Options of :func:`~diff2in1_mm.creation.composing.composer_of`: things of other source images
            are pasted into an image and its label map before it is noised. None: nothing is.
        control: A ControlNet that the diffusion model follows, see :func:`~diff2in1_mm.creation.control.control_of`:
            new pictures of the same label map, depth or edges, also from a ``T`` near 1000. None: none.
        look: Folder or glob of unlabelled pictures of another hour, season or place. A source image gets the light and
            colours of one of them, drawn by the sample's seed, before it is noised, see
            :class:`~diff2in1_mm.datasets.looks.Looks`; a ``condition`` such as ``Restyle`` may say the same in words.
            None: its own.
        unlabelled: Folder or glob of unlabelled pictures, which join the samples as they are, with labels of the model
            whatever ``label_from`` says; see ``targets='unlabelled'`` of ``SelfImprovingHook``. None: there are none.
        copies_per_source: Samples made from each image; 0, for unlabelled pictures alone, makes none.
        sources: 'uniform': every image gets as many. 'by_class_frequency': as many in all, more of images that show a
            rare class. 'by_hardness': of images on which the model's loss is high. See
            :func:`~diff2in1_mm.creation.plan.copies_of`.
        batch_size: Images that are generated together.
        label_from: 'fresh': the model looks at the image as it will be read back. 'last_step': it
            starts from the features of the last denoising pass, which saves one U-Net pass.
            'source': boxes, masks, label map, depth or normals of the source image stay, for a
            ``T`` at which things keep their places; train with ``targets='creation'``. 'by_class', for label maps
            and a ``T`` by class: the source's labels where a pixel's level is below 'default', the model's elsewhere.
            Of a model with several tasks a mapping from tasks to 'source' or 'fresh'; the default is 'fresh'.
        confidence: Pixels that the model is less sure of are stored as ignored, boxes are left out;
            for boxes also one number per class. None: the task's default (0, none, for
            segmentation; 0.9 for boxes).
        filter_above: With ``label_from='source'`` and label maps: pixels whose loss exceeds so many times their class's
            mean on the source images are ignored, see :class:`~diff2in1_mm.creation.label_filter.ClassLossFilter`.
            None: none is.
        consistency: Of several tasks: samples whose labels agree less are not stored.
            ``dict(depth_normals=30, segmentation_boundaries=0.3, focal=1.0)``, each as in
            :func:`~diff2in1_mm.tasks.consistency.consistency`. None: the figures are stored, and all samples.
        labelling: Other arguments of the task's labeller, see :mod:`diff2in1_mm.tasks`.
        scale: (w, h) to which source images are resized; None: they keep their size.
        label_scale: (w, h) within which a detector looks at the stored images, their ratio kept, as
            its test pipeline's ``Resize`` says: at another scale than it was trained at it finds
            other things. None: at their own size. Labels always lie in the stored pixels.
        keep_ratio: Whether ``scale`` bounds the image (long and short edge) or is its size.
        limit: Only the first so many source images, and unlabelled pictures; None: all.
        generator: Registered subclass of ``PartialNoiseGenerator`` that makes the images.

    Raises:
        ValueError: An unknown setting or one out of range, in one sentence.
    """

    T: int | Sequence[int] | Mapping[str, int] = 400
    steps: int | None = None
    solver: str = 'dpmsolver++'
    condition: dict | None = None
    sample_posterior: bool = False
    guidance_scale: float = 1.0
    negative_prompt: str = ''
    T_of: str | None = None
    T_margin: int = 0
    diffusion: str | dict | None = None
    compose: dict | None = None
    control: dict | None = None
    look: str | None = None
    unlabelled: str | None = None
    copies_per_source: int = 1
    sources: str = 'uniform'
    batch_size: int = 4
    label_from: str | Mapping[str, str] = 'fresh'
    confidence: None | float | Sequence[float] | Mapping = None
    labelling: dict | None = None
    filter_above: float | None = None
    consistency: dict | None = None
    scale: tuple[int, int] | None = None
    label_scale: tuple[int, int] | None = None
    keep_ratio: bool = True
    limit: int | None = None
    generator: str = 'PartialNoiseGenerator'

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> 'CreationSettings':
        """Settings of a config, checked."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise UserError(f'creation has no setting {unknown[0]!r}: it knows {", ".join(known)}')
        return cls(**settings)

    def __post_init__(self) -> None:
        for name in ('copies_per_source', 'batch_size', 'limit'):
            if (name, getattr(self, name)) not in (('limit', None), ('copies_per_source', 0)):
                check_whole(f'creation.{name}', getattr(self, name))
        if self.copies_per_source == 0 and self.unlabelled is None:
            raise UserError('creation.copies_per_source = 0 makes no sample: give 1 or more, or creation.unlabelled')
        if self.copies_per_source > MAX_COPIES:
            raise UserError(
                f'creation.copies_per_source = {self.copies_per_source} is more than '
                f'{MAX_COPIES}, for which the numbers of the samples have room'
            )
        check_choice('creation.sources', self.sources, ('uniform', 'by_class_frequency', 'by_hardness'))
        if isinstance(self.label_from, Mapping):
            for task, source in self.label_from.items():
                check_choice(f'creation.label_from[{task!r}]', source, ('fresh', 'source'))
        else:
            check_choice('creation.label_from', self.label_from, LABEL_SOURCES)
        if self.consistency is not None:
            check_consistency(self.consistency)
        if self.label_from == 'by_class' and not isinstance(self.T, Mapping):
            raise UserError(
                f"creation.label_from='by_class' needs levels by class, such as T=dict(default=600, person=0), and "
                f"T is {self.T!r}: give them, or set it to 'fresh'"
            )
        check_confidence(self.confidence)
        for name in ('scale', 'label_scale'):
            _check_scale(name, getattr(self, name))

    def build_generator(self) -> PartialNoiseGenerator:
        """The generator that these settings describe."""
        own = {name: getattr(self, name) for name in ('T', 'steps', 'solver', 'condition', 'sample_posterior')}
        built = MODELS.build(dict(own, type=self.generator, **self.guidance))
        if not isinstance(built, PartialNoiseGenerator):
            raise UserError(
                f'creation.generator = {self.generator!r} must be a subclass of PartialNoiseGenerator with a '
                '`generate` of its own'
            )
        return built

    @property
    def guidance(self) -> dict:
        """dict: The settings of guidance, ``T_of`` and ``T_margin`` that are not the defaults."""
        scale = self.guidance_scale
        scale = float(scale) if type(scale) is int else scale  # 3 and 3.0 are one store
        return {
            name: value
            for name, value in (
                ('guidance_scale', scale),
                ('negative_prompt', self.negative_prompt),
                ('T_of', self.T_of),
                ('T_margin', self.T_margin),
            )
            if value != getattr(type(self), name)
        }


def _check_scale(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Sequence) or len(value) != 2 or not all(is_whole(side, 1) for side in value):
        raise UserError(f'creation.{name} = {value!r} must be (width, height) in pixels, two whole numbers')
