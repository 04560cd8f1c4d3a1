"""The example of docs/models.md, AuraFlow, is run as it stands there, against diffusers called plainly."""

import re
import sys
import types
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers import UMT5Config, UMT5EncoderModel

from diff2in1_mm.creation.generator import PartialNoiseGenerator
from diff2in1_mm.diffusion import families
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone

from ..family_models import t5
from ..small_models import assert_same, autoencoder

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'models.md'
PROMPT = dict(type='Prompt', text='a red car')


@pytest.fixture
def example(monkeypatch):
    """The page's module."""
    section = PAGE.read_text(encoding='utf-8').partition('\n## Adding a family\n')[2]
    (block,) = re.findall(r'^```python\n(.*?)^```', section, re.M | re.S)
    module = types.ModuleType('my_families')
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(families, 'FAMILIES', [*families.FAMILIES])
    exec(block, vars(module))
    return module


@pytest.fixture
def pipeline():
    """Two joint and three single blocks: stride 8."""
    torch.manual_seed(0)
    tokenizer, _ = t5()
    sizes = dict(d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    pipeline = diffusers.AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer), **sizes)),
        vae=autoencoder(),
        transformer=diffusers.AuraFlowTransformer2DModel(
            sample_size=16,
            num_mmdit_layers=2,
            num_single_dit_layers=3,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            caption_projection_dim=32,
            pos_embed_max_size=256,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )
    for part in (pipeline.vae, pipeline.transformer, pipeline.text_encoder):
        part.eval()
    return pipeline


def test_the_example_of_the_page_is_a_family(example, pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    backbone = DiffusionBackbone(str(tmp_path), taps='all', timestep=260, condition=PROMPT).eval()
    model = backbone.diffusion
    assert type(model) is example.AuraFlow and len(backbone.tap_names) == 5
    images, kept = torch.rand(2, 3, 32, 48) * 2 - 1, []
    for name in backbone.tap_names:
        norm = pipeline.transformer.get_submodule(name)
        norm.register_forward_hook(lambda module, inputs, output: kept.append(output[0][:, -4 * 6 :]))
    with torch.no_grad():
        told = pipeline.encode_prompt(['a red car'], do_classifier_free_guidance=False)[0]
        latents = pipeline.vae.encode(images).latent_dist.mean * pipeline.vae.config.scaling_factor
        level = torch.full((2,), 0.26)
        flow = pipeline.transformer(latents, told.expand(2, -1, -1), level, return_dict=False)[0]
    assert_same(model.predict(model.encode(images), 260, backbone._condition)[0], flow)
    (found,) = backbone(images)
    assert_same(found, torch.cat(kept, 2).transpose(1, 2).unflatten(2, (4, 6)))

    generator = PartialNoiseGenerator(T=400, steps=2, solver='euler', condition=PROMPT)
    generator.check_model(model)
    made = generator.generate(model, images, generator.condition.embed(model.text), [1, 2], 400).images
    assert made.shape == images.shape and made.isfinite().all()
    with pytest.raises(ValueError, match='tokens, but the text encoder takes 256'):
        model.text.check_lengths(['a' * 300])
