"""LoRA in diffusers' format that does not fit, or is none."""

import json

import pytest
import torch
from safetensors.torch import save_file

from diff2in1_mm.diffusion.families import load_diffusion

from ..small_models import save_tiny_pipeline

pytest.importorskip('peft')

LAYER = 'unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q'


def matrices(layer: str, width: int = 32, names: tuple[str, str] = ('lora_A', 'lora_B')) -> dict:
    shapes = ((2, width), (width, 2))
    return {f'{layer}.{name}.weight': torch.ones(shape) for name, shape in zip(names, shapes)}


def test_another_makers_names_and_alpha(pipeline_folder, tmp_path):
    """Those of kohya's scripts, which most LoRAs of Stable Diffusion have."""
    layer = LAYER.replace('.', '_').replace('unet_', 'lora_unet_', 1)
    weights = matrices(layer, names=('lora_down', 'lora_up')) | {f'{layer}.alpha': torch.tensor(1.0)}
    save_file(weights, tmp_path / 'style.safetensors')
    plain = load_diffusion(pipeline_folder)
    model = load_diffusion(pipeline_folder, lora=str(tmp_path / 'style.safetensors'))
    path = LAYER.removeprefix('unet.')
    added = model.unet.get_submodule(path).weight - plain.unet.get_submodule(path).weight
    assert torch.allclose(added, torch.full_like(added, 1 / 2 * 2), atol=1e-6)  # alpha / rank * (ones @ ones)
    assert model.unet.state_dict().keys() == plain.unet.state_dict().keys()
    assert 'with the LoRA of' in model.source


def test_a_pipeline_of_somebodys_own_takes_what_its_family_does(tmp_path):
    folder = tmp_path / 'own'
    save_tiny_pipeline(folder)
    index = json.loads((folder / 'model_index.json').read_text())
    (folder / 'model_index.json').write_text(json.dumps(index | {'_class_name': 'MyPipeline'}))
    save_file(matrices(LAYER), tmp_path / 'style.safetensors')
    plain, model = load_diffusion(str(folder)), load_diffusion(str(folder), lora=str(tmp_path / 'style.safetensors'))
    path = LAYER.removeprefix('unet.')
    assert not torch.equal(model.unet.get_submodule(path).weight, plain.unet.get_submodule(path).weight)


def test_half_of_the_matrices_are_none(pipeline_folder, tmp_path):
    weights = {name: weight for name, weight in matrices(LAYER).items() if 'lora_A' in name}
    save_file(weights, tmp_path / 'half.safetensors')
    with pytest.raises(ValueError, match='does not fit'):
        load_diffusion(pipeline_folder, lora=str(tmp_path / 'half.safetensors'))


def test_what_does_not_fit_is_named(pipeline_folder, tmp_path):
    def load(name, weights=None):
        if weights is not None:
            save_file(weights, tmp_path / name)
        load_diffusion(pipeline_folder, lora=str(tmp_path / name))

    (tmp_path / 'damaged.safetensors').write_bytes(b'no')
    (tmp_path / 'empty').mkdir()
    for name, weights, words in (
        ('gone.safetensors', None, 'is no .safetensors file, no folder with pytorch_lora_weights.safetensors'),
        ('empty', None, 'no folder with pytorch_lora_weights'),
        ('damaged.safetensors', None, 'is not a readable safetensors file'),
        ('unet.safetensors', {'conv_in.weight': torch.ones(1)}, r"holds no LoRA \(its first weight is \['conv_in"),
        ('text.safetensors', matrices(LAYER) | matrices('text_encoder.q'), 'changes the text encoder too'),
        ('wide.safetensors', matrices(LAYER, 48), 'does not fit'),
        ('layers.safetensors', matrices(LAYER) | matrices('unet.mid_block.attentions.9.to_q'), 'does not fit'),
    ):
        with pytest.raises(ValueError, match=words) as error:
            load(name, weights)
        assert '\n' not in str(error.value)
