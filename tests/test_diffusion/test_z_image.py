import pytest
import torch

from diff2in1_mm.diffusion.families import load_diffusion

from ..family_models import save


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return load_diffusion(save('z_image', tmp_path_factory.mktemp('z_image')))


def test_the_longest_prompt_is_that_of_the_chat(model):
    assert model.text.embed(['a' * 509]).sequence.shape[1] == 512
    with pytest.raises(ValueError, match='has 513 tokens, but the text encoder takes 512'):
        model.text.embed(['a' * 510])


def test_images_that_are_too_large_for_the_positions_are_named(model):
    with pytest.raises(ValueError, match='takes images of at most 256 pixels a side, but got 16 x 264'):
        model.predict(model.encode(torch.zeros(1, 3, 16, 264)), 1, model.text.embed(['a']))
