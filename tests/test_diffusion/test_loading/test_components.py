"""Folders of transformers that lack a part, or hold one of another model: each is named in a sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone
from diff2in1_mm.utils.errors import UserError

from ...family_models import save
from ...small_models import write_json

WEIGHTS = 'transformer/diffusion_pytorch_model.safetensors'


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """A function that saves a family once, whose folder is not to be changed."""
    saved: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in saved:
            saved[family] = Path(save(family, tmp_path_factory.mktemp(family) / 'model'))
        return saved[family]

    return folder


@pytest.fixture
def copy(folders, tmp_path):
    """A function that copies one."""
    return lambda family: Path(shutil.copytree(folders(family), tmp_path / 'model'))


def edit(path: Path, **changes) -> None:
    write_json(path, {**json.loads(path.read_text()), **changes})


def refusal(folder: Path) -> str:
    """What a backbone of a folder says; its sentence has one line."""
    with pytest.raises(UserError) as error:
        DiffusionBackbone(str(folder))
    assert '\n' not in str(error.value) and str(folder) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('part', ['text_encoder', 'tokenizer_2'])
def test_a_missing_text_encoder_is_named(copy, part):
    folder = copy('flux')
    shutil.rmtree(folder / part)
    load_diffusion(str(folder))  # which is all that is needed beside embeddings made beforehand
    assert f'the {part} of' in refusal(folder) and 'there is no such folder): complete the folder' in refusal(folder)
    edit(folder / 'model_index.json', **{part: [None, None]})
    assert refusal(folder) == f'model_index.json of {folder} names no {part}: complete the folder'


@pytest.mark.parametrize(
    'family, part, other, words',
    [
        (
            'sana',
            'text_encoder',
            'pixart',
            r'of the kind t5, where Gemma2Model \(gemma2\) is expected: give the folder',
        ),
        ('flux', 'text_encoder', 'sd3', 'pooled text has 12 channels, but the denoiser takes 16: it was trained with'),
        ('sana', 'tokenizer', 'sd3', 'text_encoder of .* knows 100 tokens, but its tokenizer has 191'),
        (
            'pixart',
            'tokenizer',
            'sd3',
            'tokenizer of .* could not be loaded .*complete the folder, as it was published',
        ),
        ('sd3', 'tokenizer', 'pixart', 'tokenizer of .* does not say how many tokens a text may have'),
        ('sd3', 'transformer', 'pixart', 'kind PixArtTransformer2DModel, where SD3Transformer2DModel is expected'),
        ('sd3', 'transformer', 'flux', '16 input channels for 4 of its latents: .* nor is the autoencoder of another'),
        ('flux_2', 'vae', 'flux', 'vae of .* is of the kind AutoencoderKL, where AutoencoderKLFlux2 is expected'),
        ('pixart', 'scheduler', 'sd3', 'FlowMatchEulerDiscreteScheduler. than such models .*: give the folder as it'),
    ],
)
def test_a_part_of_another_model_is_named(copy, folders, family, part, other, words):
    folder = copy(family)
    shutil.rmtree(folder / part)
    shutil.copytree(folders(other) / part, folder / part)
    with pytest.raises(UserError, match=words):
        DiffusionBackbone(str(folder))


@pytest.mark.parametrize('family', ['z_image', 'flux_2', 'flux_2_dev'])
def test_a_tokenizer_without_a_template_of_chats_is_named(copy, family):
    folder = copy(family)
    (folder / 'tokenizer' / 'chat_template.jinja').unlink()
    assert f'the tokenizer of {folder} has no template of chats (chat_template.jinja' in refusal(folder)


@pytest.mark.parametrize('extra', ['qweight', 'weight.absmax', 'weight.quant_state.bitsandbytes__nf4', 'weight_scale'])
def test_weights_with_scales_are_named_whatever_their_config_says(copy, extra):
    folder = copy('flux')
    weights = load_file(folder / WEIGHTS)
    weights[f'transformer_blocks.0.attn.to_q.{extra}'] = torch.zeros(4)
    save_file(weights, folder / WEIGHTS, metadata=dict(format='pt'))
    words = f"the transformer of {folder} holds quantised weights (it has 'transformer_blocks.0.attn.to_q.{extra}')"
    assert refusal(folder).startswith(words)


def test_a_file_of_gguf_in_a_folder_is_named(copy):
    folder = copy('flux')
    (folder / WEIGHTS).rename(folder / 'transformer' / 'flux1-Q4_0.gguf')
    assert 'transformer holds quantised weights (flux1-Q4_0.gguf), which are not supported' in refusal(folder)


def test_an_autoencoder_for_previews_is_named(copy):
    folder = copy('flux')
    edit(folder / 'vae' / 'config.json', _class_name='AutoencoderTiny')
    assert f'the vae of {folder} is an AutoencoderTiny, which is not supported' in refusal(folder)
