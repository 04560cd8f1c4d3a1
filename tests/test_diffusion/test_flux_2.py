import pytest
import torch
from safetensors.torch import load_file, save_file

from diff2in1_mm.creation.generator import PartialNoiseGenerator
from diff2in1_mm.diffusion.families import load_diffusion

from ..family_models import save


def test_the_distilled_model_has_its_own_number_of_steps(tmp_path):
    base, distilled = (load_diffusion(save('flux_2', tmp_path / str(d), distilled=d)) for d in (False, True))
    generator = PartialNoiseGenerator(T=400)
    generator.check_model(base)
    assert generator.steps_for(400) == 10
    generator.check_model(distilled)
    assert generator.steps_for(400) == 4


def test_few_steps_stay_longer_at_high_noise(tmp_path):
    model = load_diffusion(save('flux_2', tmp_path))
    few, many = (model.partial_schedule(800, steps).timesteps for steps in (4, 100))
    middle = many[len(many) // 3]
    assert few[0] == many[0] == 800 and few[-1] == many[-1] == 1 and few[1] > middle


def test_latents_have_the_variance_that_noise_is_mixed_to(tmp_path):
    model = load_diffusion(save('flux_2', tmp_path))
    latents = torch.randn(1, 4, 8, 8)
    assert model.scaled(latents).shape == (1, 16, 4, 4)
    torch.testing.assert_close(model.unscaled(model.scaled(latents)), latents)


def test_missing_statistics_of_the_latents_are_named(tmp_path):
    folder = save('flux_2', tmp_path)
    path = tmp_path / 'vae' / 'diffusion_pytorch_model.safetensors'
    save_file({name: t for name, t in load_file(path).items() if name != 'bn.running_var'}, path)
    with pytest.raises(ValueError, match=r"incomplete: its vae lacks 1 of .* weights \('bn.running_var'\)"):
        load_diffusion(folder)


def test_dev_counts_its_instruction_among_the_tokens_of_a_text(tmp_path):
    """512 in all: one more would be cut off."""
    model = load_diffusion(save('flux_2_dev', tmp_path))
    pipeline = model.text_pipeline()
    ((tokenize, limit),) = model.text_limits(pipeline)
    room = limit - len(tokenize([''])['input_ids'][0])
    assert limit == 512 and room > 100
    whole = pipeline.encode_prompt('a' * room, device='cpu')[0]
    assert torch.equal(model.text.embed(['a' * room]).sequence, whole) and whole.shape == (1, 512, 48)
    with pytest.raises(ValueError, match='has 513 tokens, but the text encoder takes 512: shorten it'):
        model.text.embed(['a' * (room + 1)])
