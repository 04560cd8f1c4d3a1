"""Every family whose denoiser is a transformer, against diffusers' own classes called plainly."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.diffusion.taps import select_taps
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone
from diff2in1_mm.utils.errors import UserError

from ..family_models import build, save
from ..plain_families import PLAIN, attention_inputs
from ..small_models import assert_same, write_json

PROMPT = dict(type='Prompt', text='a red car')


@pytest.fixture(scope='module', params=PLAIN)
def family(request, tmp_path_factory):
    """Name, folder, and the pipeline as diffusers has it."""
    name = request.param
    return PLAIN[name], save(name, tmp_path_factory.mktemp(name)), build(name)


@pytest.mark.parametrize('size', [(256, 256), (41, 30)])
def test_features_equal_plain_diffusers(family, size):
    plain, folder, pipeline = family
    backbone = DiffusionBackbone(folder, taps='all', timestep=260, condition=PROMPT).eval()
    stride = backbone.diffusion.stride
    images = torch.rand(2, 3, *size) * 2 - 1
    padded = F.pad(images, (0, -size[1] % stride, 0, -size[0] % stride), mode='replicate')
    with torch.no_grad():
        told = {key: value.expand(2, *value.shape[1:]) for key, value in plain.texts(pipeline, ['a red car']).items()}
        latents = plain.latents(pipeline, padded)
        kept = attention_inputs(plain, pipeline, lambda: plain.denoise(pipeline, latents, 260, told))
    assert_same(backbone.diffusion.encode(images), latents)
    assert_same(backbone.diffusion.predict(latents, 260, backbone._condition)[0], kept['output'])
    grid = [side // stride for side in padded.shape[-2:]]
    first = 0 if plain is PLAIN['z_image'] else -grid[0] * grid[1]  # the image's tokens, before or after the text's
    tokens = [kept[tap][:, first:][:, : grid[0] * grid[1]] for tap in plain.taps]
    expected = torch.cat([t.transpose(1, 2).unflatten(2, grid) for t in tokens], 1)
    (found,) = backbone(images)
    assert_same(found, expected[..., : -(-size[0] // stride), : -(-size[1] // stride)])


def test_raw_outputs_of_blocks_are_features_where_they_are_named(family):
    plain, folder, pipeline = family
    model = load_diffusion(folder)
    raw = [tap for tap in model.taps() if tap.role == 'raw']
    assert [tap.name for tap in raw] == [name.rpartition('.')[0] for name in plain.taps]
    backbone = DiffusionBackbone(folder, taps=[tap.name for tap in raw], timestep=260, condition=PROMPT).eval()
    images = torch.rand(2, 3, 2 * model.stride, model.stride) * 2 - 1
    outputs = {}
    handles = [
        pipeline.transformer.get_submodule(tap.name).register_forward_hook(
            lambda module, inputs, output, name=tap.name: outputs.update({name: output})
        )
        for tap in raw
    ]
    with torch.no_grad():
        told = {key: value.expand(2, *value.shape[1:]) for key, value in plain.texts(pipeline, ['a red car']).items()}
        plain.denoise(pipeline, plain.latents(pipeline, images), 260, told)
    for handle in handles:
        handle.remove()
    expected = []
    for output in outputs.values():
        tokens = output if isinstance(output, torch.Tensor) else output[-1]
        tokens = tokens[:, :2] if plain is PLAIN['z_image'] else tokens[:, -2:]
        expected.append(tokens.transpose(1, 2).unflatten(2, (2, 1)))
    assert_same(backbone(images)[0], torch.cat(expected, 1))


def test_texts_are_those_of_the_pipeline(family):
    plain, folder, pipeline = family
    model = load_diffusion(folder)
    condition = model.text.embed(['a red car', ''])
    model.check_condition(condition)
    with torch.no_grad():
        expected = plain.texts(pipeline, ['a red car', ''])
    masks = expected.pop('mask', None)
    if masks is not None:
        assert [row.sequence.shape[1] for row in condition.rows()] == masks.sum(1).tolist()
        condition = replace(condition, sequence=condition.sequence[condition.mask.bool()])
        expected['sequence'] = expected['sequence'][masks.bool()]
    for name, value in expected.items():
        assert_same(getattr(condition, name).float(), value.float())
    assert not model.text.in_memory
    with pytest.raises(ValueError, match='tokens, but the text encoder takes'):
        model.text.check_lengths(['a' * 2000])


def test_prompts_of_other_lengths_in_a_batch_change_nothing(family):
    model = load_diffusion(family[1])
    latents = model.encode(torch.rand(2, 3, 32, 32) * 2 - 1)
    told = model.text.embed(['a red car', 'a'])
    together, kept = model.predict(latents, 260, told, [select_taps(model.taps(), 'all')[0][-1].name])
    for i, row in enumerate(told.rows()):
        alone, maps = model.predict(latents[i : i + 1], 260, row, list(kept))
        assert_same(together[i : i + 1], alone)
        for name in kept:
            assert_same(kept[name][i : i + 1], maps[name])
    with pytest.raises(ValueError, match='the condition has .* channels, but the denoiser takes'):
        model.check_condition(replace(told, sequence=told.sequence[..., :5]))


def test_half_precision_gives_about_the_same(family):
    _, folder, _ = family
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    full, half = (
        DiffusionBackbone(dict(source=folder, dtype=dtype), timestep=90).eval()(images)[0] for dtype in ('fp32', 'bf16')
    )
    assert (full - half).norm() < 0.1 * full.norm()


@pytest.mark.parametrize('part', ['tokenizer_2', 'tokenizer'])
def test_a_tokenizer_without_its_files_is_refused(tmp_path, part):
    """Of T5's (tokenizer_2) transformers makes one of signs alone, which takes any text for the same few tokens."""
    folder = save('flux', tmp_path / 'flux')
    shutil.rmtree(tmp_path / 'flux' / part)
    with pytest.raises(UserError, match=f'{part} of .*(has no vocabulary|could not be loaded)'):
        load_diffusion(folder).text.embed(['a red car'])


@pytest.mark.parametrize('name', ['sd3', 'sana', 'z_image', 'qwen_image', 'flux_2', 'pixart'])
def test_a_transformer_that_takes_more_than_an_image_is_refused(tmp_path, name):
    folder = save(name, tmp_path / name)
    path = tmp_path / name / 'transformer' / 'config.json'
    config = json.loads(path.read_text())
    write_json(path, {**config, 'in_channels': 2 * config['in_channels'] + 1})
    with pytest.raises(UserError, match='input channels for .* of its latents: inpainting and editing models'):
        load_diffusion(folder)
