"""Controls and method of one config, with regularisation that all of them can have."""

import copy
from collections.abc import Iterator, Sequence

from mmengine.config import Config

from ..utils.configs import find_hook, type_name
from ..utils.errors import UserError
from .runs import Arm

__all__ = ['arms_of', 'configure_arm']

DROPOUT = 0.2  # of feature channels
COPIES = 4  # photometric ones of an image
VARIANTS = 32  # compositions of an image; with a quarter of them the control is weaker (docs/rooms.md)

_CONTROL = dict(creation=None)


def arms_of(paste: Sequence[str] | None = None, unlabelled: bool = False) -> dict[str, Arm]:
    """The arms that a config is compared under; every method has controls of its own regularisation.

    Args:
        paste (Sequence[str] | None): Classes of things that are pasted between real images, in two arms more.
        unlabelled (bool): Whether the config's creation takes unlabelled pictures, which two controls more have alone.

    Returns:
        dict[str, Arm]: By name, controls first.
    """
    arms = {
        'real': Arm('plain', _CONTROL, 'real images alone, averaged weights'),
        'regularised': Arm('strong', _CONTROL, '"real" with photometric copies and dropout of feature channels'),
        'method': Arm('plain', {}, 'synthetic images, as the config says'),
        'method, regularised': Arm('strong', {}, '"method" with the regularisation of "regularised"'),
    }
    if unlabelled:
        text = '"{}" and the unlabelled pictures, labelled by theta_C'
        arms['self-trained'] = Arm('plain', {}, text.format('real'), self_training=True)
        arms['self-trained, regularised'] = Arm('strong', {}, text.format('regularised'), self_training=True)
    if paste:
        arms['pasted'] = Arm('pasted', _CONTROL, f'"regularised" with {", ".join(paste)} of other images pasted in')
        arms['method, pasted'] = Arm('pasted', {}, '"method, regularised" with the same pasting')
    if paste and unlabelled:
        arms['self-trained, pasted'] = Arm('pasted', {}, text.format('pasted'), self_training=True)
    return dict(sorted(arms.items(), key=lambda item: not item[1].control))


def configure_arm(cfg: Config, arm: Arm, seed: int, paste: Sequence[str] = ()) -> Config:
    """The config of one run.

    Args:
        cfg (Config): The user's, with SelfImprovingHook and SyntheticMixDataset; not changed.
        arm (Arm): Of :func:`arms_of`.
        seed (int): Of the run, and of the draw of labelled images where a data set draws some (``num_labelled``).
        paste (Sequence[str]): Classes of things, for arms that paste.

    Returns:
        Config: Its synthetic samples lie in its own work dir.

    Raises:
        ValueError: The data set has no pipeline that loads annotations, so that the arm cannot be made, or things are
            to be pasted without label maps.
    """
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(arm.options)
    cfg.setdefault('randomness', {})['seed'] = seed
    mixed = cfg.train_dataloader.dataset
    mixed['store'] = None
    for part in _parts(mixed):
        if part.get('num_labelled') is not None:
            part['seed'] = seed
    if arm.family != 'plain':
        _regularise(cfg, mixed, paste if arm.family == 'pasted' else ())
    hook = find_hook(cfg, 'SelfImprovingHook')
    assert hook is not None
    hook.update(arm.hook)
    if arm.self_training:
        hook['creation']['copies_per_source'] = 0
    return cfg


def _regularise(cfg: Config, mixed: dict, paste: Sequence[str]) -> None:
    if type_name(cfg.model.backbone) == 'DiffusionBackbone' and not cfg.model.backbone.get('feature_dropout'):
        cfg.model.backbone['feature_dropout'] = DROPOUT
    loading = [part for part in _parts(mixed) if _loads_labels(part)]
    if not loading:
        raise UserError(
            'no data set of train_dataloader has a pipeline with LoadAnnotations: its photometric copies cannot be '
            'compared; leave out the regularised arms (--arms real method)'
        )
    for part in loading:
        place = _loads_labels(part)
        if not any('hotometric' in type_name(step).lower() for step in part['pipeline']):
            part['pipeline'].insert(place, dict(type='PhotometricCopies', copies=COPIES))
            place += 1
        if paste:
            _paste(part, place, paste)


def _paste(part: dict, place: int, paste: Sequence[str]) -> None:
    """Puts the steps behind ``place`` into a wrapper that can paste between images."""
    if any(step.get('with_bbox') or step.get('with_mask') for step in part['pipeline']):
        raise UserError('--paste pastes with label maps, and this data set loads boxes: leave it out')
    inner = dict(part, pipeline=part['pipeline'][:place])
    things = dict(type='PasteThings', classes=list(paste), variants=VARIANTS)
    rest = [things, *part['pipeline'][place:]]
    part.clear()
    part.update(type='MultiImageMixDataset', dataset=inner, pipeline=rest)


def _loads_labels(part: dict) -> int:
    """Place in the pipeline behind the step that loads labels; 0 where there is none."""
    for place, step in enumerate(part.get('pipeline') or [], 1):
        if 'LoadAnnotations' in type_name(step):
            return place
    return 0


def _parts(node: dict) -> Iterator[dict]:
    """A data set's config and those that it wraps."""
    yield node
    for inner in [node.get('dataset'), *(node.get('datasets') or [])]:
        if isinstance(inner, dict):
            yield from _parts(inner)
