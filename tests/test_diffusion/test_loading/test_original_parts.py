"""Single files in the original layout that are not whole: one sentence, whoever reads them."""

import pytest
import torch
from safetensors.torch import save_file

from diff2in1_mm.conversion.sources import convert
from diff2in1_mm.diffusion.loading.original_parts import build_parts
from diff2in1_mm.diffusion.loading.source import load_parts
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion

from ...original_layout import original_state, small_sd

UNET, VAE = 'model.diffusion_model.', 'first_stage_model.'
TEXT = 'cond_stage_model.transformer.text_model.'


@pytest.fixture(scope='module')
def whole():
    return original_state(*small_sd())


def lacking(*beginnings):
    return lambda state: {key: value for key, value in state.items() if not any(part in key for part in beginnings)}


def having(name, *shape):
    return lambda state: {**state, name: torch.zeros(shape)}


@pytest.mark.parametrize(
    'change,words',
    [
        (lacking(f'{UNET}out.2.weight'), "the U-Net of FILE lacks 1 weights, for example 'conv_out.we"),
        (lacking('middle_block.0.in_layers.2'), 'the U-Net of FILE lacks 2 weights'),
        (lacking('output_blocks.5', 'output_blocks.6'), 'the U-Net of FILE lacks'),
        (lacking('attn2'), f"FILE lacks the weight '{UNET}*.attn2.to_k.weight'"),
        (lacking('.op.weight'), f"FILE lacks the weight '{UNET}input_blocks.*.0.op.weight'"),
        (lacking(f'{UNET}input_blocks.0.0.weight'), f"FILE lacks the weight '{UNET}input_blocks.0.0"),
        (lacking(f'{VAE}decoder'), 'the autoencoder of FILE lacks'),
        (lacking(f'{VAE}encoder.mid.block_1.conv1.weight'), 'the autoencoder of FILE lacks 1 weights'),
        (lacking(f'{VAE}encoder.down.0.downsample.conv.bias'), 'the autoencoder of FILE lacks 1 w'),
        (
            having(f'{UNET}middle_block.0.in_layers.2.weight', 3, 3, 3, 3),
            "'mid_block.resnets.0.conv1.weight' of the U-Net of FILE has the shape (3, 3, 3, 3) where",
        ),
        (having(f'{UNET}input_blocks.0.0.weight'), 'the shapes of the weights of FILE are not'),
        (having(f'{VAE}encoder.conv_in.weight', 3, 3), 'the shapes of the weights of FILE are not'),
    ],
)
def test_what_is_not_whole_is_named(whole, tmp_path, change, words):
    path = str(tmp_path / 'model.safetensors')
    state = change(whole)
    save_file(state, path)
    for read in (LatentDiffusion.from_pretrained, lambda name: convert({name: state})):
        with pytest.raises(ValueError) as error:
            read(path)
        text = str(error.value)
        assert words.replace('FILE', path) in text and '\n' not in text


@pytest.mark.parametrize(
    'change,words',
    [
        (lacking(f'{TEXT}embeddings.token'), f"FILE lacks the weight '{TEXT}embeddings.token_"),
        (lacking('layers.0.mlp.fc2.weight'), 'the text encoder of FILE lacks 1 weights'),
        (
            having(f'{TEXT}final_layer_norm.weight', 3),
            "final_layer_norm.weight' of the text encoder of FILE has the shape (3,) where (64,) is",
        ),
        (having(f'{TEXT}embeddings.token_embedding.weight'), 'the shapes of the weights of FILE are'),
        (lacking('cond_stage_model'), 'FILE has no text encoder'),
    ],
)
def test_a_text_encoder_that_is_not_whole_is_named_when_text_is_needed(whole, tmp_path, change, words):
    path = str(tmp_path / 'model.safetensors')
    save_file(change(whole), path)
    model = LatentDiffusion.from_pretrained(path)
    with pytest.raises(ValueError) as error:
        model.text.sequences(['a car'])
    assert words.replace('FILE', path) in str(error.value) and '\n' not in str(error.value)


def test_a_file_and_its_conversion_have_the_same_schedule(whole, tmp_path):
    path = str(tmp_path / 'model.safetensors')
    save_file(whole, path)
    loaded = load_parts(path, torch.float32)
    _, converted = convert({path: whole})
    assert loaded.schedule == converted.parts.schedule
    assert loaded.schedule['prediction_type'] == 'epsilon'
    assert loaded.unet.config == converted.parts.unet.config


def test_the_dtype_is_of_the_weights_that_are_used(whole):
    parts, zeros = build_parts(whole, dtype=torch.bfloat16)
    for module in (parts.vae, parts.unet):
        assert {weight.dtype for weight in module.parameters()} == {torch.bfloat16}
        assert not module.training
        assert not any(weight.requires_grad for weight in module.parameters())
    assert not zeros
    parts, _ = build_parts(whole)
    first = whole[f'{UNET}input_blocks.0.0.weight']
    assert parts.unet.conv_in.weight.data_ptr() == first.data_ptr()  # nothing is copied
