import json

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMPipeline

from diff2in1_mm.creation.generator import PartialNoiseGenerator
from diff2in1_mm.diffusion.conditions.class_label import ClassLabel
from diff2in1_mm.diffusion.conditions.source import Source
from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone

from ..family_models import ddpm, plain_unet, save
from ..small_models import assert_same, write_json


@pytest.mark.parametrize('family, options', [('ddpm', {}), ('ddpm', dict(in_channels=1, out_channels=2)), ('ldm', {})])
@pytest.mark.parametrize('size', [(32, 32), (21, 30)])
def test_features_and_runs_equal_plain_diffusers(tmp_path, family, options, size):
    folder = save(family, tmp_path, **options)
    backbone = DiffusionBackbone(folder, taps='all', timestep=50, noise=True).eval()
    model = backbone.diffusion
    images = torch.rand(2, 3, *size) * 2 - 1
    padded = F.pad(images, (0, -size[1] % model.stride, 0, -size[0] % model.stride), mode='replicate')
    grey = model.unet.config.in_channels == 1
    with torch.no_grad():
        latents = padded.mean(1, keepdim=True) if grey else padded
        if family == 'ldm':
            latents = model.vae.encode(padded).latents * 0.5
        assert_same(model.encode(images), latents)
        kept = {}
        for name in ('up_blocks.0.upsamplers.0', 'up_blocks.1.resnets.1', 'down_blocks.1.attentions.0'):
            model.unet.get_submodule(name).register_forward_hook(lambda m, i, out, name=name: kept.update({name: out}))
        finest, coarse = backbone(images)
    stride = model.latent_stride
    rows, columns = -(-size[0] // stride), -(-size[1] // stride)
    last = kept['up_blocks.1.resnets.1'].shape[1]
    assert_same(finest[:, -last:], kept['up_blocks.1.resnets.1'][..., :rows, :columns])
    attention = kept['down_blocks.1.attentions.0']
    assert any(
        torch.equal(coarse[:, i : i + 24], attention[..., : coarse.shape[-2], : coarse.shape[-1]])
        for i in range(coarse.shape[1] - 23)
    )
    # from the top level, with the model's own betas
    generator = PartialNoiseGenerator(T=999, steps=3, solver='ddim')
    made = generator.generate(model, images[:1], model.text.embed(['']), [3], 999).images
    schedule = model.partial_schedule(999, 3, 'ddim')
    noise = torch.randn(latents[:1].shape, generator=torch.Generator().manual_seed(3))
    scheduler = DDIMScheduler.from_config(json.loads((tmp_path / 'scheduler/scheduler_config.json').read_text()))
    noised = scheduler.add_noise(latents[:1], noise, torch.tensor([999]))
    with torch.no_grad():
        for step in schedule.timesteps:
            output = model.unet(noised, step).sample[:, : latents.shape[1]]
            noised = schedule.scheduler.step(output, step, noised).prev_sample
        expected = model.vae.decode(noised / 0.5).sample if family == 'ldm' else noised.expand(-1, 3, -1, -1)
    assert_same(made, expected[..., : size[0], : size[1]].clamp(-1, 1))


def test_the_fresh_pipeline_of_diffusers_reads_the_same_folder(tmp_path):
    folder = save('ddpm', tmp_path)
    assert torch.equal(
        DDPMPipeline.from_pretrained(folder).unet.conv_in.weight, load_diffusion(folder).unet.conv_in.weight
    )


def test_a_class_is_told(tmp_path):
    folder = save('ddpm', tmp_path, num_class_embeds=4)
    with pytest.raises(ValueError, match="is told a class: set condition=dict.type='ClassLabel', label="):
        DiffusionBackbone(folder)
    first, second = (
        DiffusionBackbone(folder, condition=dict(type='ClassLabel', label=label)).eval()(torch.zeros(1, 3, 8, 8))[0]
        for label in (0, 3)
    )
    assert not torch.allclose(first, second)
    with pytest.raises(ValueError, match='knows the classes 0 to 3'):
        DiffusionBackbone(folder, condition=dict(type='ClassLabel', label=4))
    rarest = ClassLabel(classes=['road', 'car', 'sign'])
    told = rarest.embed(None, [Source('a.png', ('road', 'car', 'tree')), Source('b.png', ('sign',))])
    assert told.extras['class_label'].tolist() == [1, 2] and rarest.per_image
    generator = PartialNoiseGenerator(
        T=500, steps=2, condition=dict(type='ClassLabel', classes=['road', 'car', 'sign'])
    )
    made = generator.generate(load_diffusion(folder), torch.zeros(2, 3, 8, 8), told, [0, 0], 500).images
    assert not torch.allclose(made[0], made[1])
    with pytest.raises(ValueError, match="the label of 'c' shows .'tree'., none of the classes"):
        rarest.embed(None, [Source('c.png', ('tree',))])
    with pytest.raises(ValueError, match='ClassLabel takes one of'):
        ClassLabel()


def test_texts_and_guidance_are_refused(tmp_path):
    folder = save('ddpm', tmp_path)
    with pytest.raises(ValueError, match="takes no text, but got 'a car'"):
        DiffusionBackbone(folder, condition=dict(type='Prompt', text='a car'))
    guided = PartialNoiseGenerator(condition=dict(type='ClassLabel', label=0), guidance_scale=3)
    with pytest.raises(ValueError, match='is told no text .*: set creation.guidance_scale=1'):
        guided.check_model(load_diffusion(folder))
    with pytest.raises(ValueError, match="is not told a class: set condition=dict.type='Prompt'"):
        DiffusionBackbone(folder, condition=dict(type='ClassLabel', label=0))


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(time_embedding_type='fourier'), 'variance-exploding'),
        (dict(in_channels=4), '4 input channels, but images'),
    ],
)
def test_other_kinds_are_named(tmp_path, change, words):
    pipeline = ddpm()
    pipeline.unet = plain_unet()
    pipeline.save_pretrained(tmp_path)
    path = tmp_path / 'unet' / 'config.json'
    write_json(path, {**json.loads(path.read_text()), **change})
    with pytest.raises(ValueError, match=words):
        load_diffusion(str(tmp_path))
