"""What bad input looks like to a user, and what a bug looks like."""

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, HOOKS, MODELS, DefaultScope, Registry

import diff2in1_mm
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.datasets.rooms.render import render_room
from diff2in1_mm.diffusion.schedules import check_strength
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.utils.errors import UnusableFileError, UserError, has_no_option, options_of, told_in_a_sentence


def build_inside_a_registry():
    MODELS.build(dict(type='DiffusionBackbone', diffusion='./nowhere'))


def said(capsys, work):
    with pytest.raises(SystemExit) as ended:
        with told_in_a_sentence('tool.py'):
            work()
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_bad_input_is_one_line(capsys):
    line = said(capsys, lambda: check_strength(2000, 1000))
    assert line.startswith('tool.py: T = 2000 is out of range') and line.count('\n') == 1


class Unreadable(torch.utils.data.Dataset):
    """Whose only sample is named as bad input."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise UnusableFileError('a.png: no label map: give one')


@pytest.mark.parametrize('workers', [0, 1])
def test_an_error_of_a_data_loaders_worker_is_one_line(capsys, workers):
    loader = torch.utils.data.DataLoader(Unreadable(), num_workers=workers)
    assert said(capsys, lambda: next(iter(loader))) == 'tool.py: a.png: no label map: give one\n'


def test_the_innermost_error_counts(capsys):
    assert said(capsys, build_inside_a_registry).startswith("tool.py: './nowhere' is neither")


def add_a_mend():
    try:
        check_strength(2000, 1000)
    except ValueError as error:
        raise UserError(f'{error}; or take another model') from error


def test_a_sentence_that_was_made_of_another_counts(capsys):
    assert said(capsys, add_a_mend).endswith('; or take another model\n')


def bug_after_a_handled_error():
    try:
        check_strength(2000, 1000)
    except ValueError:
        np.zeros(3).reshape(2, 2)


@pytest.mark.parametrize(
    'bug',
    [
        bug_after_a_handled_error,
        lambda: np.zeros(3).reshape(2, 2),  # not ours
        lambda: render_room(0, 'wide'),  # raised below ours, by a call that fails
    ],
)
def test_a_bug_keeps_its_traceback(bug):
    with pytest.raises(Exception) as raised:
        with told_in_a_sentence('tool.py'):
            bug()
    assert not isinstance(raised.value, SystemExit)


def build(registry=MODELS, **config):
    return lambda: registry.build(config)


@pytest.mark.parametrize(
    'work, sentence',
    [
        (
            build(type='DiffusionBackbone', diffusion='d', time_step=3),
            "DiffusionBackbone has no option 'time_step'; did you mean 'timestep'?",
        ),
        (
            build(HOOKS, type='SelfImprovingHook', warmup=3),
            "SelfImprovingHook has no option 'warmup'; did you mean 'warm_up'?",
        ),
        (
            build(DATASETS, type='SyntheticMixDataset', dataset={}, ration=1.0),
            "SyntheticMixDataset has no option 'ration'; did you mean 'ratio'?",
        ),
        (build(DATASETS, type='SyntheticMixDataset'), "SyntheticMixDataset needs the option 'dataset': set it"),
        (build(type='Prompt', sentence='a street'), "Prompt has no option 'sentence': it knows text"),
        (build(type='Promt'), "there is no type 'Promt' in the registry 'model'; did you mean 'Prompt'?"),
        (
            build(Registry('main'), type='Prompt'),
            "there is no type 'Prompt' in the registry 'main'; correct it, or name the module of a class "
            'of your own in custom_imports',
        ),
        (
            build(type='mmseg.Zzzzzz'),
            "there is no type 'mmseg.Zzzzzz' in the registry 'model'; correct "
            'it, or name the module of a class of your own in custom_imports',
        ),
        (
            lambda: CreationSettings(condition=dict(type='OwnCaptions')).build_generator(),
            "there is no type 'OwnCaptions' in the registry 'model'; did you mean 'OwnCaption'?",
        ),
        (
            lambda: LatentDiffusion.from_pretrained('d', dtpe='bf16'),
            "LatentDiffusion has no option 'dtpe'; did you mean 'dtype'?",
        ),
    ],
)
def test_misspelt_names(capsys, work, sentence):
    assert said(capsys, work) == f'tool.py: {sentence}\n'


def test_options_that_a_base_class_takes():
    class Base:
        def __init__(self, first, *, second=1):
            """Takes two."""

    class Derived(Base):
        def __init__(self, third=3, **kwargs):
            super().__init__(**kwargs)

    assert options_of(Derived) == ['third', 'first', 'second']
    assert has_no_option(Derived, 'secnd').endswith("has no option 'secnd'; did you mean 'second'?")


def test_types_of_a_library_that_the_config_does_not_name(capsys, monkeypatch):
    monkeypatch.setattr(MODELS, '_children', dict(MODELS.children))
    Registry('model', scope='mmother', parent=MODELS).register_module(name='OddHead', module=dict)
    assert said(capsys, build(type='OddHead')) == (
        "tool.py: the type 'OddHead' is one of mmother, which the config does not name: set "
        "default_scope = 'mmother', or write 'mmother.OddHead'\n"
    )


def test_options_that_go_to_a_class_of_a_library(capsys):
    """Of the class that refuses it, here one that a class of ours is made from."""
    pytest.importorskip('mmseg')
    from mmseg.registry import DATASETS as SEGMENTATION

    with DefaultScope.overwrite_default_scope('mmseg'):
        line = said(capsys, build(SEGMENTATION, type='NYUNormalsDataset', data_prefx={}))
    assert line == "tool.py: BaseSegDataset has no option 'data_prefx'; did you mean 'data_prefix'?\n"


def wrong_call_of_ours():
    diff2in1_mm.creation.PartialNoiseGenerator().steps_for(wrong=1)


@pytest.mark.parametrize(
    'bug',
    [
        build(type='Conv2d', in_chanels=3),  # not a class of ours
        wrong_call_of_ours,
        lambda: {}['key'],
        lambda: sorted(3),
    ],
)
def test_other_errors_of_these_kinds_keep_their_traceback(bug):
    with pytest.raises((TypeError, KeyError)):
        with told_in_a_sentence('tool.py'):
            bug()
