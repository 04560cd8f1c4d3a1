"""What was trained of a denoiser comes back from a checkpoint, or the checkpoint is refused."""

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import load_state_dict

import diff2in1_mm  # noqa: F401

pytest.importorskip('peft')

LORA = dict(type='lora', rank=2)
WEIGHTS = r'trained with a part of the diffusion model \(denoiser\..* for which there is no place here: set `train`'
ADAPTER = r'trained with a part of the diffusion model \(text_adapter\.'


@pytest.fixture
def build(pipeline_folder):
    def make(**options):
        torch.manual_seed(0)
        return MODELS.build(dict(type='DiffusionBackbone', **{'diffusion': pipeline_folder, **options}))

    return make


def changed(module):
    """With other parameters."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.rand(parameter.shape, generator=generator)
    return module


def maps(backbone):
    return backbone(torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(3)) * 2 - 1)


@pytest.mark.parametrize(
    'trained, here, words',
    [
        (dict(train=LORA), dict(), WEIGHTS),
        (dict(train=LORA), dict(train='full'), WEIGHTS),
        (dict(train=LORA), dict(train=dict(LORA, rank=4)), WEIGHTS),
        (dict(train=LORA), dict(train=dict(LORA, targets=['to_q'])), WEIGHTS),
        (dict(train='full'), dict(), WEIGHTS),
        (dict(train='full'), dict(train=LORA), WEIGHTS),
        (dict(text_adapter=True), dict(), ADAPTER),
        (dict(train='full', text_adapter=True), dict(train='full'), ADAPTER),
        (dict(train=LORA), dict(train=dict(LORA, alpha=6)), 'rank = 1, and here it is 3: set .*alpha = 2$'),
    ],
)
def test_what_has_no_place_is_not_dropped(build, trained, here, words):
    """MMEngine's loading, of ``load_from`` and of its own tools, would warn and take the pretrained ones."""
    state = build(**trained).state_dict()
    with pytest.raises(ValueError, match=words):
        load_state_dict(build(**here), state, strict=False)


def test_weights_that_change_no_map_here_are_not_missed(build):
    state, some = changed(build(train='full')).state_dict(), build(train='full', out_channels=[None, 16, 16])
    fewer = {name for name, _ in some.named_parameters()}
    assert any(name.startswith('denoiser.') and name not in fewer for name in state)
    expected = dict(build(train='full').named_parameters())
    load_state_dict(some, state, strict=False)
    for name, value in some.denoiser.named_parameters():
        assert torch.equal(value, state[f'denoiser.{name}']) and not torch.equal(value, expected[f'denoiser.{name}'])


def test_training_along_begins_from_a_model_that_was_frozen(build):
    state = build().state_dict()
    for options in (dict(train=LORA), dict(train='full', text_adapter=True)):
        load_state_dict(build(**options), state, strict=False)


def test_checkpoints_of_lora_from_before_its_factor_was_noted(build):
    trained = changed(build(train=dict(LORA, alpha=6)))
    state = trained.state_dict()
    assert state.pop('lora_factor') == 3
    again = build(train=dict(LORA, alpha=6))
    again.load_state_dict(state)
    assert all(map(torch.equal, maps(again), maps(trained)))


@pytest.mark.parametrize('train', [LORA, 'full'])
def test_training_along_begins_from_the_weights_in_a_checkpoint(build, train):
    """Of another U-Net, that ``save_frozen`` has written; and it goes on from what was trained of that."""
    other = build(save_frozen=True)
    changed(other.diffusion.unet)
    other.frozen_fingerprint.copy_(other.diffusion.fingerprint())
    backbone = build(train=train, save_frozen=True)
    backbone.load_state_dict(other.state_dict(), strict=False)
    for mine, theirs in zip(maps(backbone), maps(other)):
        torch.testing.assert_close(mine, theirs)
    again = build(train=train, save_frozen=True)
    again.load_state_dict(changed(backbone).state_dict())
    assert all(map(torch.equal, maps(again), maps(backbone)))
