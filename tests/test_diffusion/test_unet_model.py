"""Latent consistency models: told the scale of guidance, and made for few passes."""

import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, LCMScheduler, UNet2DConditionModel

from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.families import family_of, load_diffusion

from ..small_models import assert_same, tiny_pipeline, write_json


def consistency_folder(folder) -> str:
    """In the format of the published ones."""
    pipeline = tiny_pipeline()
    torch.manual_seed(1)
    config = {name: value for name, value in pipeline.unet.config.items() if not name.startswith('_')}
    pipeline.unet = UNet2DConditionModel.from_config({**config, 'time_cond_proj_dim': 32})
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(folder)
    index = pipeline._dict_from_json_file(folder / 'model_index.json')
    write_json(folder / 'model_index.json', {**index, '_class_name': 'LatentConsistencyModelPipeline'})
    return str(folder)


def test_the_scale_of_guidance_is_told_as_diffusers_pipeline_tells_it(tmp_path):
    source = consistency_folder(tmp_path)
    assert family_of(source).name == 'Stable Diffusion 1.x and 2.x'
    diffusion = load_diffusion(source)
    assert diffusion.few_steps == 4
    latents, texts = torch.randn(2, 4, 8, 8), torch.randn(1, 24, 16)
    pipeline = tiny_pipeline()
    told = pipeline.get_guidance_scale_embedding(torch.full((2,), 8.5 - 1), embedding_dim=32)
    with torch.no_grad():
        plain = diffusion.unet(latents, 300, texts.expand(2, -1, -1), timestep_cond=told).sample
        untold = diffusion.unet(latents, 300, texts.expand(2, -1, -1)).sample
    found, maps = diffusion.predict(latents, 300, Condition(texts), taps=['mid_block'])
    assert_same(found, plain)
    assert (untold - plain).abs().max() > 1e-3 and maps['mid_block'].shape == (2, 32, 2, 2)


def test_few_steps_are_those_that_a_scheduler_says(tmp_path):
    for number, (scheduler, steps) in enumerate(
        [
            (EulerDiscreteScheduler(timestep_spacing='trailing'), 4),
            (EulerDiscreteScheduler(timestep_spacing='trailing', rescale_betas_zero_snr=True), None),
            (DPMSolverMultistepScheduler(timestep_spacing='trailing'), None),
            (LCMScheduler(), 4),
        ]
    ):
        pipeline = tiny_pipeline()
        pipeline.scheduler = scheduler
        pipeline.save_pretrained(tmp_path / str(number))
        assert load_diffusion(str(tmp_path / str(number))).few_steps == steps
