"""Settings of the creation that name a generator of one's own."""

import pytest
import torch
from mmengine.registry import DATASETS, MODELS, init_default_scope

from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.generator import Generated, PartialNoiseGenerator
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.diffusion.conditions.prompts import Prompt
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore

from ..stores import read_one
from ..tiny_segmentation import build_model, dataset_config, make_images


@pytest.fixture
def grey_generator():
    @MODELS.register_module(force=True)
    class GreyGenerator(PartialNoiseGenerator):
        """Makes the same grey picture of every image."""

        def generate(self, diffusion, images, embeddings, seeds, T, taps=()):
            return Generated(torch.zeros_like(images), {})

    yield 'GreyGenerator'
    MODELS.module_dict.pop('GreyGenerator')


def test_another_generator_makes_the_images(tmp_path, pipeline_folder, grey_generator):
    init_default_scope('mmseg')
    make_images(tmp_path / 'data')
    dataset = DATASETS.build(dataset_config(tmp_path / 'data'))
    model = build_model(pipeline_folder)
    create(model, dataset, tmp_path / 'store', seed=0, generator=grey_generator, T=300, limit=2)
    store = SyntheticStore(tmp_path / 'store')
    assert len(store) == 2 and store.settings['generator'] == 'GreyGenerator'
    image, _ = read_one(store, store.records()[0])
    assert (image == 128).all() or (image == 127).all()


def test_the_default_is_partial_noise():
    assert type(CreationSettings().build_generator()) is PartialNoiseGenerator


def test_guidance_is_named_where_it_is_set(tmp_path, pipeline_folder):
    """Stores and generators of before it still fit."""
    assert CreationSettings(guidance_scale=1.0).guidance == {}
    init_default_scope('mmseg')
    make_images(tmp_path / 'data')
    dataset = DATASETS.build(dataset_config(tmp_path / 'data'))
    model = build_model(pipeline_folder)
    settings = dict(seed=0, T=300, steps=2, condition=dict(type='Prompt', text='a street'), limit=1)
    for name, guidance in (
        ('plain', {}),
        ('guided', dict(guidance_scale=3.0)),
        ('negative', dict(guidance_scale=3.0, negative_prompt='a tree')),
    ):
        create(model, dataset, tmp_path / name, **settings, **guidance)
        found = SyntheticStore(tmp_path / name).settings
        assert {k: v for k, v in found.items() if k in ('guidance_scale', 'negative_prompt')} == guidance
    stores = [SyntheticStore(tmp_path / name) for name in ('plain', 'guided', 'negative')]
    pictures = [read_one(store, store.records()[0])[0] for store in stores]
    assert all((pictures[i] != pictures[j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))
    create(model, dataset, tmp_path / 'guided', guidance_scale=3, **settings)  # the same number
    with pytest.raises(StoreMismatch, match='guidance_scale'):
        create(model, dataset, tmp_path / 'plain', guidance_scale=3.0, **settings)


def test_a_config_of_the_new_style_names_classes(tmp_path, pipeline_folder):
    """A store made by it is that of the same config with names."""
    init_default_scope('mmseg')
    make_images(tmp_path / 'data')
    dataset = DATASETS.build(dataset_config(tmp_path / 'data'))
    model = build_model(pipeline_folder)
    settings = dict(seed=0, T=300, steps=1, scale=(32, 32))
    classes = dict(condition=dict(type=Prompt, text='a street'), generator=PartialNoiseGenerator)
    create(model, dataset, tmp_path / 's', limit=1, **settings, **classes)
    names = dict(condition=dict(type='Prompt', text='a street'), generator='PartialNoiseGenerator')
    assert create(model, dataset, tmp_path / 's', limit=2, **settings, **names).present == 1
    found = SyntheticStore(tmp_path / 's').settings
    assert (found['generator'], found['condition']['type']) == ('PartialNoiseGenerator', 'Prompt')


def test_more_copies_than_ids_have_room_for():
    assert CreationSettings(copies_per_source=100).copies_per_source == 100
    with pytest.raises(ValueError, match='copies_per_source = 101 is more than 100'):
        CreationSettings(copies_per_source=101)


@pytest.mark.parametrize('name', ['scale', 'label_scale'])
@pytest.mark.parametrize('value', [128, (128,), (0, 128), '12', (1.5, 2)])
def test_sizes_are_two_numbers(name, value):
    with pytest.raises(ValueError, match=rf'^creation.{name} = .* must be \(width, height\)'):
        CreationSettings(**{name: value})
