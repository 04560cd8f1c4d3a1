import pytest
from mmengine.registry import MODELS

import diff2in1_mm  # noqa: F401
from diff2in1_mm.diffusion.conditions.source import Source

HOURS = ['by day', 'at night', 'night']


def restyle(**options):
    return MODELS.build(dict(dict(type='Restyle'), **options))


def texts(condition, caption):
    return {condition.text(Source(caption=caption, seed=seed)) for seed in range(60)}


def test_one_attribute_becomes_another_of_its_group():
    condition = restyle(swap=[HOURS, ['sunny', 'rainy']])
    assert texts(condition, 'A Sunny street by day') == {'A rainy street at night', 'A rainy street night'}
    assert texts(condition, 'at night') == {'by day', 'night'}  # no night is left behind an "at"
    assert texts(condition, 'a knight, today') == {'a knight, today'}


def test_templates_are_drawn():
    condition = restyle(templates=['{caption} in snow', 'a sketch of {caption}'])
    assert texts(condition, 'a {car}') == {'a {car} in snow', 'a sketch of a {car}'}


def test_all_that_may_come_is_known_before():
    condition = restyle(templates=['{caption}', '{caption} in snow'], swap=[HOURS], of=dict(type='ComposedCaption'))
    assert condition.per_image and condition.draws and condition.wants_classes
    condition = restyle(templates=['{caption}', '{caption} in snow'], swap=[HOURS])
    for caption in ('a car by day', 'a car'):
        source = Source(caption=caption)
        assert texts(condition, caption) == set(condition.texts(source))


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(), 'changes nothing'),
        (dict(templates=['at night']), 'must be a list of texts with {caption}'),
        (dict(templates='{caption} at night'), 'must be a list of texts with {caption}'),
        (dict(swap=[['sunny']]), 'groups of at least two words'),
        (dict(swap=['sunny', 'rainy']), 'groups of at least two words'),
        (dict(swap=[HOURS], of=dict(type='ClassLabel', label=3)), 'ClassLabel gives none'),
    ],
)
def test_malformed_options(options, words):
    with pytest.raises(ValueError, match=words):
        restyle(**options)
