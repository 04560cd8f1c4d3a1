"""The folder that a conversion writes: config, checkpoint, diffusion model, embeddings, report."""

import os.path as osp
from collections.abc import Iterable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from safetensors.torch import save_file
from torch import Tensor

from ..diffusion.stable_diffusion import LatentDiffusion
from ..diffusion.taps import select_taps
from ..utils.atomic_folders import replace_folder
from ..utils.errors import UserError
from ..utils.optional import require
from ..utils.resources import config_path
from ..version import __version__
from .converted import Converted
from .diffusion_parts import save_parts
from .report import dump, report

#: What the published weights were trained on, or were tuned from.
STABLE_DIFFUSION = 'stable-diffusion-v1-5/stable-diffusion-v1-5'
REPORT = 'report.json'


def check_target(folder: str, force: bool) -> None:
    """Whether a conversion may be written there.

    Args:
        folder (str): Target.
        force (bool): Replace an earlier conversion.

    Raises:
        ValueError: Something is there that is not to be overwritten.
    """
    target = Path(folder)
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / REPORT).is_file():
        raise UserError(
            f'{folder} exists and is not the result of a conversion (it has no {REPORT}): give another --out'
        )
    if not force:
        raise UserError(f'{folder} exists: give another --out, or --force to replace it')


def write_folder(
    folder: str, source: str, files: Iterable[str], converted: Converted, diffusion: str | None = None
) -> dict:
    """Write a conversion as a whole: a reader sees the old folder or the new one.

    Args:
        folder (str): Target; an existing one is replaced.
        source (str): What was converted.
        files (Iterable[str]): From which files.
        converted (Converted): What to write; ``missing`` is completed.
        diffusion (str | None): The pretrained diffusion model: what the normals look through, and
            what the other configs generate with. None: Stable Diffusion 1.5 of the hub, which is
            not loaded here.

    Returns:
        dict: The report, see :func:`report`.

    Raises:
        ImportError: MMSegmentation is not installed, and the model needs it.
        ValueError: Weights are missing, or do not fit the modules that the config builds.
    """
    content: dict = {}

    def write(path: str) -> None:
        if converted.base is None:
            assert converted.parts is not None  # what has no task has a diffusion model
            text = None if 'text_encoder' in converted.missing else converted.parts.load_text()
            save_parts(converted.parts, path, text)
        else:
            require('mmseg', f'What {source} becomes')
            name = osp.basename(osp.abspath(folder))
            _write_model(Path(path), name, source, converted, diffusion)
        content.update(report(source, files, converted))
        (Path(path) / REPORT).write_bytes(dump(content))

    replace_folder(folder, write)
    return content


def _write_model(path: Path, name: str, source: str, converted: Converted, diffusion: str | None) -> None:
    (path / 'config.py').write_text(config_text(name, source, converted, diffusion))
    weights = complete_weights(converted, Config.fromfile(path / 'config.py'))
    model = _frozen_model(converted, diffusion)
    if model is not None:
        weights['backbone.frozen_fingerprint'] = model.fingerprint()
    else:
        converted.missing['backbone.frozen_fingerprint'] = (
            f'left out: {STABLE_DIFFUSION} was not loaded (--diffusion does)'
        )
    if converted.parts is not None:
        save_parts(converted.parts, str(path / 'diffusion'))
    if converted.embeddings is not None:
        save_file({'tokens': converted.embeddings.contiguous()}, path / 'embeddings.safetensors')
    torch.save(dict(state_dict=weights, meta=dict(source=source, diff2in1_mm=__version__)), path / 'checkpoint.pth')


def config_text(name: str, source: str, converted: Converted, diffusion: str | None = None) -> str:
    """A config that inherits ours and changes what the source has otherwise.

    Args:
        name (str): Of the folder: every config is called config.py, and each needs a work dir.
        source (str): What was converted, for a comment.
        converted (Converted): The conversion.
        diffusion (str | None): As :func:`write_folder` takes it.

    Returns:
        str: Python source; the paths in it are relative to the config's own folder.
    """
    generator = osp.abspath(diffusion) if diffusion and osp.exists(diffusion) else diffusion
    changed = dict(model=converted.model, work_dir=f'work_dirs/{name}')
    if converted.parts is None and diffusion is not None:
        changed['model'] = dict(converted.model, backbone=dict(diffusion=dict(source=generator)))
    if converted.other_generator and converted.base is not None:
        hooks = Config.fromfile(config_path(converted.base)).custom_hooks
        # The tuned U-Net of the source no longer draws, and its autoencoder has no decoder.
        hooks[0].creation.diffusion = generator or STABLE_DIFFUSION
        changed['custom_hooks'] = [hook.to_dict() for hook in hooks]
    return (
        f'# Written by tools/convert_checkpoint.py from {source}.\n'
        f"_base_ = __import__('diff2in1_mm').config_path({converted.base!r})\n\n" + Config(changed).pretty_text
    )


def complete_weights(converted: Converted, cfg: Config) -> dict[str, Tensor]:
    """Weights of neck and head, compared by names and shapes with what the config builds.

    Batch counts that the source has not are added as zeros; they play no part.

    Args:
        converted (Converted): The conversion; ``missing`` is completed.
        cfg (Config): Its config.

    Returns:
        dict[str, Tensor]: By our names.

    Raises:
        ValueError: A weight is missing, superfluous or of another shape.
    """
    init_default_scope(cfg.default_scope)
    weights, expected = dict(converted.weights), {}
    with torch.device('meta'):
        for name in ('neck', 'decode_head'):
            if cfg.model.get(name) is not None:
                expected.update(MODELS.build(cfg.model[name]).state_dict(prefix=f'{name}.'))
    for name in expected.keys() - weights.keys():
        if not name.endswith('.num_batches_tracked'):
            raise UserError(
                f'the checkpoint lacks what {name!r} needs: it is incomplete, or of '
                'another architecture than the published one'
            )
        weights[name] = torch.zeros((), dtype=torch.long)
        converted.missing[name] = 'zero: a count that plays no part'
    for name, value in weights.items():
        if name not in expected or expected[name].shape != value.shape:
            what = f'{tuple(expected[name].shape)} is expected' if name in expected else 'there is no such layer'
            raise UserError(
                f'{name!r} has the shape {tuple(value.shape)} where {what}: the '
                'checkpoint is of another architecture than the published one'
            )
    return weights


def _frozen_model(converted: Converted, diffusion: str | None) -> LatentDiffusion | None:
    """The diffusion model that the features come from, where it is at hand."""
    if converted.parts is not None:
        return LatentDiffusion(converted.parts)
    if diffusion is None:
        return None
    model = LatentDiffusion.from_pretrained(diffusion)
    groups = select_taps(model.taps(), 'all')
    gives = [sum(tap.channels for tap in group) for group in groups]
    if gives != list(converted.model['neck']['in_channels']):
        raise UserError(
            f'{diffusion} gives maps of {gives} channels, but the aggregator takes '
            f'{converted.model["neck"]["in_channels"]}: give the diffusion model that it was trained on'
        )
    return model
