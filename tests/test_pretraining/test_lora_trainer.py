"""LoRA of any family, trained and read again by diffusers and here."""

import pytest
import torch
from safetensors.torch import load_file

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.pretraining.lora_trainer import LoRATrainer

from ..family_models import build, save
from ..small_models import assert_same, save_tiny_pipeline, tiny_pipeline
from .small_parts import photos

pytest.importorskip('peft')

FAMILIES = ['sd', 'xl', 'sd3', 'flux', 'pixart', 'sana', 'z_image', 'qwen_image', 'flux_2', 'ddpm', 'ldm']


@pytest.mark.parametrize('family', FAMILIES)
def test_it_is_trained_and_read_by_diffusers_as_here(family, tmp_path):
    sd = family == 'sd'
    source = save_tiny_pipeline(tmp_path / 'model') if sd else save(family, tmp_path / 'model')
    trainer = LoRATrainer(source, rank=3, alpha=6, seed=1)
    plain = load_diffusion(source)
    latents = plain.encode(torch.rand(2, 3, 2 * plain.stride, plain.stride) * 2 - 1)
    optimizer = torch.optim.SGD(trainer.parameters(), 100.0)
    loss = trainer(latents=latents)['loss_denoising']
    loss.backward()
    assert loss > 0 and all(p.grad is not None for p in trainer.parameters())
    optimizer.step()
    trainer.save_result(str(tmp_path / 'lora'))
    ours = load_diffusion(source, lora=str(tmp_path / 'lora'))
    assert ours.digest() != plain.digest() and not any(p.requires_grad for p in ours.parameters())
    models = [trainer.model, ours]
    pipeline = tiny_pipeline() if sd else build(family)
    if hasattr(pipeline, 'load_lora_weights'):
        pipeline.load_lora_weights(tmp_path / 'lora')
        models.append(plain.with_denoiser(getattr(pipeline, plain.denoiser_name).eval()))
    assert len(models) == 3 or family in ('pixart', 'ddpm', 'ldm')
    told = plain.text.embed([''])
    with torch.no_grad():
        found = [model.predict(latents, [300, 700], told)[0] for model in models]
    without = plain.predict(latents, [300, 700], told)[0]
    assert (found[0] - without).abs().max() > 1e-3 * without.abs().max()
    for output in found[1:]:
        assert_same(output, found[0], 1e-5)


def test_what_is_saved_and_shown(start, tmp_path):
    trainer = LoRATrainer(start, rank=2, targets=['attn2.to_q', 'conv1'], dtype='bf16', sample_strengths=(100,))
    rows = trainer.sample_rows(photos(), seed=0)
    assert list(rows) == ['original', 'decoded', 'T = 100']
    assert all(row.shape == (2, 3, 32, 48) for row in rows.values())
    trainer(inputs=photos(), caption=['a car', ''])['loss_denoising'].backward()
    assert {p.dtype for p in trainer.parameters()} == {torch.float32}
    assert len(trainer.state_dict()) == len(list(trainer.parameters()))
    trainer.save_result(str(tmp_path / 'lora'), 'fp16')
    weights = load_file(tmp_path / 'lora' / 'pytorch_lora_weights.safetensors')
    assert {w.dtype for w in weights.values()} == {torch.float16} and len(weights) == len(trainer.state_dict())
    load_diffusion(start, lora=str(tmp_path / 'lora' / 'pytorch_lora_weights.safetensors'))  # convolutions too


def test_bad_settings_are_named(start, tmp_path):
    for options, words in (
        (dict(rank=0), 'denoiser.model.rank = 0 must be a whole number'),
        (dict(targets=['to_x']), r"denoiser.model.targets: \['to_x'\] matches no layer"),
    ):
        with pytest.raises(ValueError, match=words):
            LoRATrainer(start, **options)
