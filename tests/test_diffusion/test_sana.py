import pytest
import torch

from diff2in1_mm.diffusion.families import load_diffusion

from ..family_models import build, save
from ..small_models import assert_same


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save('sana', tmp_path_factory.mktemp('sana'))


def test_what_guidance_leads_away_from_has_no_instruction(folder):
    model = load_diffusion(folder)
    _, _, sequence, mask = build('sana').encode_prompt('a car', negative_prompt='a dog')
    negative = model.text.negative('a dog')
    assert negative.mask is None and not model.text.in_memory
    assert_same(negative.sequence[0], sequence[mask.bool()])
    # one token of the instruction stays
    assert model.text.embed(['a dog']).sequence.shape[1] == negative.sequence.shape[1] + 1


def test_the_longest_prompt_keeps_all_its_tokens(folder):
    model = load_diffusion(folder)
    assert model.text.embed(['a' * 298]).sequence.shape[1] == 300
    with pytest.raises(ValueError, match='has 300 tokens, but the text encoder takes 299'):
        model.text.embed(['a' * 299])


def test_what_overflows_in_float16_stays_in_a_larger_range(folder):
    model = load_diffusion(folder, dtype='fp16')
    assert model.dtype == torch.float16 and model.vae.dtype == torch.float32
    assert model.text_pipeline().text_encoder.dtype == torch.bfloat16
    assert model.encode(torch.zeros(1, 3, 32, 32)).dtype == torch.float16
    assert load_diffusion(folder, dtype='bf16').vae.dtype == torch.bfloat16
