"""Denoisers that are trained: gradients, LoRA, what stays pretrained, what is refused."""

import copy

import pytest
import torch
from torch import nn

from diff2in1_mm.diffusion import trained
from diff2in1_mm.diffusion.contract import DiffusionModel
from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.diffusion.trained import restore, trained_part, with_gradients

from ..family_models import BUILDERS, save
from ..small_models import assert_same
from ..versions import before

pytest.importorskip('peft')

TAPS = ['up_blocks.0.upsamplers.0', 'up_blocks.1.upsamplers.0', 'up_blocks.2.resnets.1']
ATTENTION = 'up_blocks.1.attentions.0.transformer_blocks.0.attn2'
LATENTS = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))


def told(diffusion):
    return diffusion.text.embed(['a room'])


def loss_of(maps):
    return sum(feature.float().square().mean() for feature in maps.values())


def gradients(model, taps, condition):
    """By the names of the denoiser's parameters."""
    loss_of(model.predict(LATENTS, [7, 900], condition, taps)[1]).backward()
    return {name: p.grad for name, p in model.denoiser.named_parameters() if p.grad is not None}


def test_gradients_are_those_of_a_plain_diffusers_unet(diffusion):
    condition, plain, kept = told(diffusion), copy.deepcopy(diffusion.unet).requires_grad_(True), {}
    for name in TAPS:
        plain.get_submodule(name).register_forward_hook(lambda m, i, out, name=name: kept.__setitem__(name, out))
    plain(LATENTS, torch.tensor([7, 900]), condition.sequence.expand(2, -1, -1))
    loss_of(kept).backward()
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert 'conv_out.weight' not in expected
    for checkpointing in (False, True):
        model = with_gradients(diffusion, 'full', checkpointing)
        part = trained_part(model, condition, 1, TAPS)
        found = gradients(model, TAPS, condition)
        # what never gets a gradient is not trained
        assert set(found) == set(expected) == {name for name, _ in part.named_parameters()}
        for name in expected:
            assert_same(found[name], expected[name], 1e-5)
    assert not any(p.requires_grad for p in diffusion.parameters())


def test_attention_maps_have_gradients_with_checkpointing_too(diffusion):
    condition = told(diffusion)
    plain, again = (
        gradients(with_gradients(diffusion, 'full', checkpointing), [ATTENTION], condition)
        for checkpointing in (False, True)
    )
    assert set(plain) == set(again) and any(name.startswith(f'{ATTENTION}.to_k') for name in plain)
    for name in plain:
        assert_same(again[name], plain[name], 1e-5)


def test_checkpointing_keeps_less(diffusion):
    """Of inner values, counted by what autograd saves for the backward pass."""
    sizes = []
    for checkpointing in (False, True):
        kept = 0

        def pack(tensor):
            nonlocal kept
            kept += tensor.numel()
            return tensor

        model = with_gradients(diffusion, 'full', checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.predict(LATENTS, 1, told(diffusion), TAPS)
        sizes.append(kept)
    assert sizes[1] < 0.6 * sizes[0]


def test_lora_starts_as_the_pretrained_and_adds_its_product(diffusion):
    condition, before = told(diffusion), copy.deepcopy(diffusion.unet).state_dict()
    plain = diffusion.predict(LATENTS, 5, condition, TAPS)[1]
    model = with_gradients(diffusion, dict(type='lora', rank=2, alpha=6, targets=['attn2.to_q', 'conv1']))
    part = trained_part(model, condition, 1, TAPS)
    assert {name.rpartition('.lora_')[0].rpartition('.')[2] for name, _ in part.named_parameters()} == {'to_q', 'conv1'}
    for name, feature in model.predict(LATENTS, 5, condition, TAPS)[1].items():
        assert torch.equal(feature, plain[name])
    # after training it is W + alpha / rank * B A, and the pretrained model is what it was
    merged = diffusion.with_denoiser(copy.deepcopy(diffusion.unet))
    for path, layer in model.denoiser.named_modules():
        if hasattr(layer, 'lora_A'):
            a, b = layer.lora_A['default'].weight.data, layer.lora_B['default'].weight.data.normal_(0, 0.1)
            product = (b.flatten(1) @ a.flatten(1)).view_as(layer.base_layer.weight)
            merged.denoiser.get_submodule(path).weight.data += 3 * product
    changed = model.predict(LATENTS, 5, condition, TAPS)[1]
    for name, feature in merged.predict(LATENTS, 5, condition, TAPS)[1].items():
        assert_same(changed[name], feature, 1e-4)
        assert not torch.allclose(feature, plain[name], 1e-2)
    again = diffusion.predict(LATENTS, 5, condition, TAPS)[1]
    assert all(torch.equal(again[name], plain[name]) for name in TAPS)
    assert diffusion.unet.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in diffusion.unet.state_dict().items())


def test_lora_shares_the_frozen_weights(diffusion):
    model = with_gradients(diffusion, 'lora')
    theirs = {id(p) for p in model.denoiser.parameters()}
    assert all(id(p) in theirs for p in diffusion.denoiser.parameters())


@pytest.mark.parametrize('dtype', ['bf16', 'fp32'])
def test_trained_weights_are_single_precision_and_follow_autocast(pipeline_folder, dtype):
    diffusion = load_diffusion(pipeline_folder, dtype=dtype)
    for train in ('lora', 'full'):
        model = with_gradients(diffusion, train)
        for autocast in (False, True):
            with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
                maps = model.predict(LATENTS, 1, told(diffusion), TAPS)[1]
            half = dtype == 'bf16' and train == 'lora' or autocast
            assert maps[TAPS[1]].dtype == (torch.bfloat16 if half else torch.float32)
            loss_of(maps).backward()
        trained_ones = [p for p in model.denoiser.parameters() if p.requires_grad]
        assert {p.dtype for p in trained_ones} == {torch.float32}
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained_ones)


@pytest.mark.parametrize('family', BUILDERS)
def test_every_family_can_be_trained(family, tmp_path):
    """All of what is called trained gets a gradient, with checkpointing too (``UNet2DModel``: from diffusers 0.32)."""
    diffusion = load_diffusion(save(family, tmp_path))
    condition = diffusion.text.embed([''])
    taps = [tap.name for tap in diffusion.taps() if tap.role == 'decoder']
    images = torch.rand(1, 3, 2 * diffusion.stride, diffusion.stride) * 2 - 1
    recomputes = family not in ('ddpm', 'ldm') or not before('diffusers', '0.32')
    for train, checkpointing in (('full', recomputes), ('lora', False)):
        model = with_gradients(diffusion, train, checkpointing)
        part = trained_part(model, condition, 1, taps)
        loss_of(model.predict(model.encode(images), 1, condition, taps)[1]).backward()
        assert list(part.parameters()) and all(p.grad is not None for p in part.parameters())
        assert sum(p.grad.abs().sum() for p in part.parameters()) > 0


def test_initialisation_by_layer_is_undone(diffusion):
    condition = told(diffusion)
    plain = diffusion.predict(LATENTS, 5, condition, TAPS)[1]
    for train in ('full', dict(type='lora', rank=2)):
        model = with_gradients(diffusion, train)
        part = trained_part(model, condition, 1, TAPS)
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.normal_(module.weight)
        restore(part, diffusion.denoiser)
        for name, feature in model.predict(LATENTS, 5, condition, TAPS)[1].items():
            assert torch.equal(feature, plain[name])


@pytest.mark.parametrize(
    'train, words',
    [
        ('head', "must be None, 'full', 'lora' or"),
        (dict(type='full', rank=3), "must be None, 'full', 'lora' or"),
        (dict(type='lora', ranks=3), "has no option 'ranks'; did you mean 'rank'"),
        (dict(type='lora', rank=0), 'backbone.train.rank = 0 must be a whole number of at least 1'),
        (dict(type='lora', targets=['to_q', 'to_kk']), r"\['to_kk'\] matches no layer of UNet2DConditionModel: name"),
        (dict(type='lora', targets='nothing.*'), 'matches no layer of UNet2DConditionModel'),
        (dict(type='lora', targets=[]), 'matches no layer'),
        (dict(type='lora', targets=['attn1']), r'cannot be adapted \(.*\): name linear layers or convolutions'),
    ],
)
def test_bad_settings_are_named(diffusion, train, words):
    with pytest.raises(ValueError, match=words):
        with_gradients(diffusion, train)


def test_targets_behind_all_taps_are_named(diffusion):
    model = with_gradients(diffusion, dict(type='lora', targets=['conv_out']))
    with pytest.raises(ValueError, match='match no layer of UNet2DConditionModel before the taps'):
        trained_part(model, told(diffusion), 1, TAPS)


def test_numbers_beyond_float16_are_told_from_damaged_weights(diffusion):
    """Under AMP the dtype of the weights is not that of the maps."""
    full, nothing = with_gradients(diffusion, 'full'), [torch.tensor([float('nan')])]
    with torch.autocast('cpu', torch.float16):
        full.check_finite('maps', [torch.zeros(1)])
        with pytest.raises(ValueError, match="float16 of mixed precision .*: set optim_wrapper.dtype='bfloat16', or"):
            full.check_finite('maps', nothing)
        with pytest.raises(ValueError, match='in torch.float32: its weights are damaged'):
            diffusion.check_finite('maps', nothing)  # which autocast is not for
    with pytest.raises(ValueError, match='in torch.float32: its weights are damaged'):
        full.check_finite('maps', nothing)


def test_what_cannot_be_trained_is_refused(diffusion, pipeline_folder, monkeypatch):
    with pytest.raises(ValueError, match="gradients vanish in the float16 of diffusion.dtype='fp16'"):
        with_gradients(load_diffusion(pipeline_folder, dtype='fp16'), 'full')
    monkeypatch.setattr(DiffusionModel, '__abstractmethods__', frozenset())
    with pytest.raises(ValueError, match='does not say which of its parts is the denoiser'):
        with_gradients(DiffusionModel(), 'full')
    with pytest.raises(ValueError, match='is not to be copied, as EMAHook does'):
        copy.deepcopy(with_gradients(diffusion, 'full'))
    diffusion.unet._supports_gradient_checkpointing = False
    with pytest.raises(ValueError, match='with_cp=True: UNet2DConditionModel cannot compute its blocks again'):
        with_gradients(diffusion, 'full', checkpointing=True)
    monkeypatch.setattr(trained, 'is_installed', lambda module: module != 'peft')
    with pytest.raises(ImportError, match='needs peft, which is not installed: run `pip install peft`'):
        with_gradients(diffusion, 'lora')
    assert with_gradients(diffusion, 'full').passes_gradients  # which does without
