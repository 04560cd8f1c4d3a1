"""The families of diffusion models, and which of them serves a source."""

import inspect
import os.path as osp
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from ..utils.errors import UserError
from .contract import DiffusionModel
from .latent_model import LatentModel
from .loading.components import model_index, named_class
from .lora import fuse_lora


class Family(NamedTuple):
    """One line of the table.

    Attributes:
        name: As people call it.
        pipelines: Classes that ``model_index.json`` of its folders names.
        module: Where its class is, imported when it is needed.
        model: The class, a :class:`DiffusionModel`.
    """

    name: str
    pipelines: tuple[str, ...]
    module: str
    model: str

    def load_class(self) -> type[DiffusionModel]:
        """type[DiffusionModel]: The class that serves it."""
        return getattr(import_module(self.module), self.model)


_STABLE_DIFFUSION = Family(
    'Stable Diffusion 1.x and 2.x',
    ('StableDiffusionPipeline', 'LatentConsistencyModelPipeline'),
    f'{__package__}.stable_diffusion',
    'LatentDiffusion',
)

#: Its denoiser and text encoders; SDXL's pipelines have a second one, Kolors and Kandinsky others.
_PARTS = ['UNet2DConditionModel', 'CLIPTextModel', None]

FAMILIES: list[Family] = [
    _STABLE_DIFFUSION,
    Family('SDXL', ('StableDiffusionXLPipeline',), f'{__package__}.stable_diffusion_xl', 'StableDiffusionXL'),
    Family(
        'models without text (UNet2DModel)',
        ('DDPMPipeline', 'DDIMPipeline', 'LDMPipeline', 'PNDMPipeline'),
        f'{__package__}.plain_unet',
        'PlainUNet',
    ),
    Family('SD 3 and 3.5', ('StableDiffusion3Pipeline',), f'{__package__}.stable_diffusion_3', 'StableDiffusion3'),
    Family('FLUX.1', ('FluxPipeline', 'FluxKontextPipeline'), f'{__package__}.flux', 'Flux'),
    Family('PixArt', ('PixArtAlphaPipeline', 'PixArtSigmaPipeline'), f'{__package__}.pixart', 'PixArt'),
    Family('Sana', ('SanaPipeline',), f'{__package__}.sana', 'Sana'),
    Family('Z-Image', ('ZImagePipeline',), f'{__package__}.z_image', 'ZImage'),
    Family('Qwen-Image', ('QwenImagePipeline',), f'{__package__}.qwen_image', 'QwenImage'),
    Family('FLUX.2-klein', ('Flux2KleinPipeline',), f'{__package__}.flux_2', 'Flux2'),
    Family('FLUX.2-dev', ('Flux2Pipeline',), f'{__package__}.flux_2', 'Flux2Dev'),
]


def family_of(source: str, revision: str | None = None, download: bool = True) -> Family:
    """The family that serves a source, by the class that its ``model_index.json`` names.

    Single files, and folders without such a file or of another pipeline around the same parts, are left to Stable
    Diffusion, which looks at their weights and names what it cannot take.

    Args:
        source (str): Folder, hub id or file that a user wrote.
        revision (str | None): Commit, branch or tag of a hub id. Default None.
        download (bool): Ask the hub; False looks at what is on this machine only. Default True.

    Returns:
        Family: A line of :data:`FAMILIES`.

    Raises:
        ValueError: The source is of another family; the sentence lists those that are there.
    """
    index = model_index(source, revision, download)
    pipeline = index.get('_class_name')
    for family in FAMILIES:
        if pipeline in family.pipelines:
            return family
    if pipeline is None and osp.isdir(osp.join(source, 'transformer')):
        raise UserError(
            f'{source} has no model_index.json, which says of what family its transformer is: complete the folder'
        )
    parts = [named_class(index, part)[1] for part in ('unet', 'text_encoder', 'text_encoder_2')]
    if pipeline is None or parts in (_PARTS, [_PARTS[0], None, None]):
        return _STABLE_DIFFUSION
    raise UserError(
        f'{source} is a {pipeline}, of no family that is served: give a model of '
        + ', or of '.join(family.name for family in FAMILIES)
    )


def load_diffusion(source: str, revision: str | None = None, lora: str | None = None, **options: Any) -> DiffusionModel:
    """Load a diffusion model of whatever family.

    Args:
        source (str): Folder, hub id or file.
        revision (str | None): Commit, branch or tag of a hub id. Default None.
        lora (str | None): File, folder or hub id of a LoRA of its denoiser, which is fused, see :func:`fuse_lora`.
            Default None.
        **options: Of the family's ``from_pretrained``, for example ``dtype``.

    Returns:
        DiffusionModel: On the CPU.

    Raises:
        ValueError: The source is of no family that is there, or cannot be loaded; or the LoRA does not fit.
    """
    if revision is not None:
        options['revision'] = revision
    family = family_of(source, revision)
    load = family.load_class().from_pretrained
    known = [*inspect.signature(load).parameters, 'lora', 'revision']
    for option in options:
        if option not in known:
            raise UserError(
                f'diffusion has no option {option!r} for {family.name}: it knows {", ".join(dict.fromkeys(known))}'
            )
    model = load(source, **options)
    if lora is not None:
        if not isinstance(model, LatentModel):
            raise UserError(
                f'{type(model).__name__} does not say which of its parts is the denoiser that diffusion.lora changes: '
                'make it a subclass of LatentModel, or leave it out'
            )
        named = model_index(source, revision).get('_class_name')
        # a pipeline of somebody's own has the parts of its family's
        fuse_lora(model, lora, named if named in family.pipelines else family.pipelines[0])
    return model


def config_options(diffusion: str | Mapping[str, Any], setting: str) -> dict[str, Any]:
    """What a config says of a diffusion model, as :func:`load_diffusion` takes it.

    Args:
        diffusion (str | Mapping): The source, or a dict with it and further options.
        setting (str): How a config calls it, for the message.

    Raises:
        ValueError: It names no source.
    """
    options = dict(source=diffusion) if isinstance(diffusion, str) else dict(diffusion)
    if not isinstance(options.get('source'), str):
        raise UserError(
            f'{setting} = {diffusion!r} names no model: give a hub id, folder or file as its `source`, such as '
            f"{setting}.source='diff2in1_mm/rooms'"
        )
    return options


def check_source(source: str) -> None:
    """Look at a source, of whatever family, without loading weights or asking a hub.

    Raises:
        ValueError: It is of no family that is there, missing or incomplete.
    """
    family_of(source, download=False).load_class().check_source(source)
