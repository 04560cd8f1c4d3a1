"""Models that would be taken for Stable Diffusion, and compute otherwise."""

import json
import shutil

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file, save_file

from diff2in1_mm.diffusion.families import check_source, load_diffusion
from diff2in1_mm.utils.errors import UserError

from ...original_layout import original_state, small_sd
from ...small_models import write_json


@pytest.fixture
def folder(pipeline_folder, tmp_path):
    return shutil.copytree(pipeline_folder, tmp_path / 'model')


@pytest.mark.parametrize(
    'file, change, words',
    [
        ('scheduler/scheduler_config', dict(_class_name='FlowMatchEulerDiscreteScheduler'), r'levels \(FlowMatchEuler'),
        ('scheduler/scheduler_config', dict(_class_name='EDMEulerScheduler'), r'levels \(EDMEulerScheduler\)'),
        ('scheduler/scheduler_config', dict(use_flow_sigmas=True), r'levels \(use_flow_sigmas\)'),
        ('vae/config', dict(shift_factor=0.1), r'shifts its latents \(shift_factor\)'),
        ('vae/config', dict(latents_mean=[0.0] * 4, latents_std=[1.0] * 4), r'\(latents_mean, latents_std\)'),
        ('vae/config', dict(_class_name='AutoencoderTiny'), 'is an AutoencoderTiny'),
    ],
)
def test_another_kind_is_named_by_its_config(folder, file, change, words):
    path = folder / f'{file}.json'
    write_json(path, {**json.loads(path.read_text()), **change})
    with pytest.raises(ValueError, match=words):
        load_diffusion(str(folder))


def test_a_unet_that_was_saved_with_lora(folder):
    path = folder / 'unet/diffusion_pytorch_model.safetensors'
    weights = load_file(path)
    name = next(key for key in weights if key.endswith('attn2.to_q.weight'))
    weights[name.replace('.weight', '.base_layer.weight')] = weights.pop(name)
    weights[name.replace('.weight', '.lora_A.default.weight')] = weights['conv_in.weight'].flatten()[:16].clone()
    save_file(weights, path, metadata=dict(format='pt'))
    with pytest.raises(ValueError, match='the unet of .* was saved with LoRA layers .*fuse_lora'):
        load_diffusion(str(folder))


def test_files_of_a_variant_alone(folder):
    for path in folder.rglob('*.safetensors'):
        path.rename(path.with_suffix('.fp16.safetensors'))
    for look in (load_diffusion, check_source):
        with pytest.raises(ValueError, match="variant 'fp16' only: set variant='fp16'"):
            look(str(folder))
    load_diffusion(str(folder), variant='fp16')


@pytest.mark.parametrize('part', ['unet', 'vae', 'text_encoder'])
def test_quantised_weights_are_named_before_they_are_read(folder, part):
    path = folder / part / 'config.json'
    config = json.loads(path.read_text())
    write_json(path, {**config, 'quantization_config': dict(quant_method='bitsandbytes', load_in_4bit=True)})
    with pytest.raises(UserError, match=rf'the {part} of .* holds quantised weights \(bitsandbytes\), which are not'):
        load_diffusion(str(folder)).text.embed(['a'])


@pytest.mark.parametrize('look', [load_diffusion, check_source])
def test_a_file_of_gguf_is_named(tmp_path, look):
    with pytest.raises(UserError, match=r'model.gguf holds quantised weights \(GGUF\).*: give the diffusers folder'):
        look(str(tmp_path / 'model.gguf'))


U = 'model.diffusion_model.'
BLOCK = f'{U}input_blocks.1.1.transformer_blocks.0.attn2.to_q'


@pytest.fixture(scope='module')
def single():
    return original_state(*small_sd())


def load_file_with(tmp_path, state, **more):
    path = tmp_path / 'model.safetensors'
    save_file({**state, **{name: torch.zeros(value) for name, value in more.items()}}, path)
    return load_diffusion(str(path))


@pytest.mark.parametrize(
    'name, words',
    [
        (f'{BLOCK}.lora_A.default.weight', r'was saved with LoRA layers \(it has .*fuse_lora'),
        ('lora_unet_down_blocks_0_attn1.lora_down.weight', r'is or holds a LoRA.*fuse it into that model'),
        (f'{U}joint_blocks.0.x_block.attn.qkv.weight', r'is a single file of a transformer \(SD 3, FLUX, '),
        (f'{U}time_embed.cond_proj.weight', 'of a latent consistency model, of which only folders are read'),
        ('edm_mean', 'has another kind of noise levels'),
        ('ztsnr', "has another kind of noise levels.*'ztsnr'"),
        ('first_stage_model.encoder.layers.0.weight', 'has an AutoencoderTiny'),
        ('conditioner.embedders.0.x', 'is a single file of SDXL'),
        (f'{U}label_emb.0.0.weight', r'1 weights that Stable Diffusion 1.x and 2.x do not have.*label_emb'),
        ('alphas_cumprod', "with other noise levels than Stable Diffusion's"),
    ],
)
def test_another_kind_is_named_by_the_keys_of_a_single_file(tmp_path, single, name, words):
    with pytest.raises(UserError, match=rf'model\.safetensors .*({words})'):
        load_file_with(tmp_path, single, **{name: 1000})


@pytest.mark.parametrize(
    'name, words',
    [
        ('lora_te_text_model_encoder_layers_0_mlp_fc1.alpha', 'is or holds a LoRA'),
        ('down_blocks.0.resnets.0.conv1.weight', 'is one part of a diffusers folder .*: give that folder'),
        ('encoder.down_blocks.0.resnets.0.conv1.weight', 'is one part of a diffusers folder'),
        ('double_blocks.0.img_attn.qkv.weight', 'is a single file of a transformer'),
        ('blocks.0.cross_attn.q_linear.weight', 'is a single file of a transformer'),
        ('transformer_blocks.0.img_mod.1.weight', 'is a single file of a transformer'),
        ('noise_refiner.0.attention.qkv.weight', 'is a single file of a transformer'),
        ('encoder.layers.0.weight', 'has an AutoencoderTiny'),
    ],
)
def test_a_file_without_a_unet_of_ours_says_what_it_is(tmp_path, name, words):
    with pytest.raises(UserError, match=words):
        load_file_with(tmp_path, {}, **{name: 3})


def test_what_a_single_file_says_of_itself_is_followed(tmp_path, single):
    schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear')
    state = dict(single, alphas_cumprod=schedule.alphas_cumprod)
    assert load_file_with(tmp_path, state).schedule['prediction_type'] == 'epsilon'
    assert load_file_with(tmp_path, state, v_pred=0).schedule['prediction_type'] == 'v_prediction'


@pytest.mark.parametrize(
    'pipeline, parts',
    [
        ('StableDiffusionXLInpaintPipeline', dict(text_encoder_2=['transformers', 'CLIPTextModelWithProjection'])),
        ('KolorsPipeline', dict(text_encoder=['kolors', 'ChatGLMModel'])),
        ('KandinskyV22Pipeline', dict(text_encoder=['kandinsky', 'MultilingualCLIP'])),
        ('UnknownPipeline', dict(unet='a word')),
    ],
)
def test_a_pipeline_of_no_family_names_those_that_are_served(folder, pipeline, parts):
    path = folder / 'model_index.json'
    write_json(path, {**json.loads(path.read_text()), '_class_name': pipeline, **parts})
    with pytest.raises(UserError, match=f'is a {pipeline}, of no family that is served: give .*, or of SDXL, or of'):
        load_diffusion(str(folder))


def test_a_transformer_without_its_index(tmp_path):
    (tmp_path / 'transformer').mkdir()
    with pytest.raises(UserError, match=r'has no model_index.json, which says of what family its transformer is'):
        load_diffusion(str(tmp_path))


def gated(repository, name, **options):
    """What the hub answers to those who have not accepted a licence."""
    from huggingface_hub.utils import GatedRepoError

    raise GatedRepoError.__new__(GatedRepoError)


@pytest.mark.parametrize('options', [{}, dict(lora='someone/lora')])
def test_a_gated_model_says_how_to_log_in(folder, monkeypatch, options):
    monkeypatch.setattr('huggingface_hub.hf_hub_download', gated)
    source = str(folder) if options else 'someone/model'
    with pytest.raises(UserError, match=r'someone/\w+ is a gated model: accept the licence .*hf auth login'):
        load_diffusion(source, **options)
