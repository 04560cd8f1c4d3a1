"""The families of diffusion models, and which of them serves a source."""

import json
import os.path as osp
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..utils.errors import UserError
from .contract import DiffusionModel
from .loading.embedded import FOLDER, NAME


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
    'Stable Diffusion 1.x and 2.x', ('StableDiffusionPipeline',), f'{__package__}.stable_diffusion', 'LatentDiffusion'
)

FAMILIES: list[Family] = [_STABLE_DIFFUSION]


def family_of(source: str, revision: str | None = None, download: bool = True) -> Family:
    """The family that serves a source, by the class that its ``model_index.json`` names.

    Single files, and folders without such a file or of another pipeline around a ``unet``, are left to Stable
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
    index = _model_index(source, revision, download)
    pipeline = index.get('_class_name')
    for family in FAMILIES:
        if pipeline in family.pipelines:
            return family
    if pipeline is None or 'unet' in index or osp.isdir(osp.join(source, 'unet')):
        return _STABLE_DIFFUSION
    hint = ' (it has a `transformer`: SD 3 and later are not supported)' if 'transformer' in index else ''
    raise UserError(
        f'{source} is a {pipeline}{hint}, of no family that is served: give a model of '
        + ', or of '.join(family.name for family in FAMILIES)
    )


def load_diffusion(source: str, revision: str | None = None, **options: Any) -> DiffusionModel:
    """Load a diffusion model of whatever family.

    Args:
        source (str): Folder, hub id or file.
        revision (str | None): Commit, branch or tag of a hub id. Default None.
        **options: Of the family's ``from_pretrained``, for example ``dtype``.

    Returns:
        DiffusionModel: On the CPU.

    Raises:
        ValueError: The source is of no family that is there, or cannot be loaded.
    """
    if revision is not None:
        options['revision'] = revision
    return family_of(source, revision).load_class().from_pretrained(source, **options)


def check_source(source: str) -> None:
    """Look at a source, of whatever family, without loading weights or asking a hub.

    Raises:
        ValueError: It is of no family that is there, missing or incomplete.
    """
    family_of(source, download=False).load_class().check_source(source)


def _model_index(source: str, revision: str | None, download: bool) -> dict[str, Any]:
    """What ``model_index.json`` says; nothing where there is none, which the family itself is asked about then."""
    try:
        if source == NAME and not osp.isdir(source):
            path = FOLDER / 'model_index.json'
        elif osp.exists(source) or source.count('/') != 1 or source.startswith(('.', '/', '~')):
            path = Path(source, 'model_index.json')
        else:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(source, 'model_index.json', revision=revision, local_files_only=not download))
        index = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}
