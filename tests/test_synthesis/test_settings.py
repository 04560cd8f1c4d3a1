"""Settings of the creation that name a generator of one's own."""
import pytest
import torch
from mmengine.registry import DATASETS, MODELS, init_default_scope

from diff2in1_mm.synthesis import (CreationSettings, Generated, PartialNoiseGenerator,
                                    SyntheticStore, create)

from .segmentation import build_model, dataset_config, make_images


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
    image, _ = store.read(store.records()[0])
    assert (image == 128).all() or (image == 127).all()


def test_the_default_is_partial_noise():
    assert type(CreationSettings().build_generator()) is PartialNoiseGenerator


def test_more_copies_than_ids_have_room_for():
    assert CreationSettings(copies_per_source=100).copies_per_source == 100
    with pytest.raises(ValueError, match='copies_per_source = 101 is more than 100'):
        CreationSettings(copies_per_source=101)


@pytest.mark.parametrize('name', ['scale', 'label_scale'])
@pytest.mark.parametrize('value', [128, (128, ), (0, 128), '12', (1.5, 2)])
def test_sizes_are_two_numbers(name, value):
    with pytest.raises(ValueError, match=rf'^creation.{name} = .* must be \(width, height\)'):
        CreationSettings(**{name: value})
