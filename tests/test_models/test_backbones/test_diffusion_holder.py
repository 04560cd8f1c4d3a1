"""What of a diffusion model a model holds, trains, moves and saves."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

import diff2in1_mm  # noqa: F401
from diff2in1_mm.models.backbones import kept_features

from ...family_models import save
from ...small_models import assert_same, save_tiny_pipeline

pytest.importorskip('peft')

LORA = dict(type='lora', rank=2)


@pytest.fixture
def build(pipeline_folder):
    def make(**options):
        torch.manual_seed(0)
        return MODELS.build(dict(type='DiffusionBackbone', **{'diffusion': pipeline_folder, **options}))

    return make


def images(count=2):
    return torch.rand(count, 3, 32, 48, generator=torch.Generator().manual_seed(3)) * 2 - 1


def step(backbone, rate=0.01):
    """One step of gradient descent on what is trained."""
    sum(feature.square().mean() for feature in backbone(images())).backward()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter -= rate * parameter.grad


@pytest.mark.parametrize('train', [LORA, 'full'])
def test_the_module_tree_has_what_is_trained_alone(build, train):
    frozen, backbone = build(), build(train=train)
    assert frozen.frozen and not backbone.frozen
    names = {name for name, _ in backbone.named_parameters()}
    assert names and all(name.startswith('denoiser.') for name in names)
    assert set(backbone.state_dict()) - {'lora_factor'} == {*names, 'frozen_fingerprint'}
    assert any('lora_A' in name for name in names) == (train == LORA)
    for mine, theirs in zip(backbone(images()), frozen(images())):
        assert torch.equal(mine, theirs)
    step(backbone)
    assert any(not torch.allclose(mine, theirs) for mine, theirs in zip(backbone(images()), frozen(images())))
    # a hook may freeze it later: the two parameter sets have features of their own all the same
    assert not backbone.requires_grad_(False).frozen
    # what generates is as it was
    assert torch.equal(backbone.diffusion.fingerprint(), frozen.frozen_fingerprint)
    assert torch.equal(backbone.frozen_fingerprint, frozen.frozen_fingerprint)


def test_settings_of_optimizers_find_it(build):
    """As VPD rates it, and with norms told from other layers."""
    model = nn.ModuleDict(dict(backbone=build(train='full', text_adapter=True, out_channels=[4] * 3)))
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.5),
            paramwise_cfg=dict(custom_keys={'backbone.denoiser': dict(lr_mult=0.1)}, norm_decay_mult=0.0),
        ),
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(group['params'][0])]: group for group in wrapper.optimizer.param_groups}
    assert len(found) == len(names)
    for name, group in found.items():
        assert group['lr'] == (0.1 if name.startswith('backbone.denoiser.') else 1.0)
    assert found['backbone.projections.0.weight']['weight_decay'] == 0.5


def test_maps_that_nobody_reads_train_nothing(build):
    """DDP waits for a gradient of all that is trained."""
    all_maps, some = build(train='full'), build(train='full', out_channels=[None, 4, 4])
    extra = {n for n, _ in all_maps.named_parameters()} - {n for n, _ in some.named_parameters()}
    assert extra and all(name.startswith('denoiser.up_blocks.') for name in extra)
    sum(feature.mean() for feature in some(images())[1:]).backward()
    assert all(parameter.grad is not None for parameter in some.parameters())


@pytest.mark.parametrize('train', [None, LORA])
def test_the_text_adapter_is_trained_through_the_denoiser(build, train):
    condition = dict(type='Prompt', text='a room')
    backbone, plain = build(text_adapter=True, train=train, condition=condition), build(condition=condition)
    assert not backbone.frozen
    for mine, theirs in zip(backbone(images()), plain(images())):
        assert_same(mine, theirs, 1e-3)  # gamma is small
    step(backbone)
    adapter = dict(backbone.text_adapter.named_parameters())
    assert set(adapter) == {'gamma', 'fc.0.weight', 'fc.0.bias', 'fc.2.weight', 'fc.2.bias'}
    assert adapter['gamma'].grad.abs().sum() > 0
    assert torch.equal(backbone.told.sequence, backbone.text_adapter(plain._condition.sequence))


def test_a_full_copy_leaves_the_pretrained_denoiser_where_it_is(build):
    """A move shows as a change of dtype on a machine without another device."""
    full, lora = build(train='full').double(), build(train=LORA).double()
    assert full.perception.dtype == torch.float64 and full.diffusion.dtype == torch.float32
    assert full.diffusion.vae is full.perception.vae and full.diffusion.image_dtype == torch.float64
    assert lora.perception.dtype == lora.diffusion.dtype == torch.float64
    assert lora.perception.unet.conv_in.weight is lora.diffusion.unet.conv_in.weight


def test_what_is_trained_begins_as_the_pretrained(build):
    backbone = build(train='full', init_cfg=dict(type='Normal', layer=['Conv2d', 'Linear'], std=1.0))
    backbone.init_weights()
    for mine, theirs in zip(backbone(images()), build()(images())):
        assert torch.equal(mine, theirs)
    step(backbone)
    trained = backbone(images())
    backbone.init_weights()  # of which MMEngine warns, and does nothing
    assert all(map(torch.equal, backbone(images()), trained))


@pytest.mark.parametrize('train', [LORA, 'full'])
def test_or_as_the_checkpoint_that_init_cfg_names(build, tmp_path, train):
    elsewhere = build(train=train)
    step(elsewhere)
    torch.save({f'backbone.{name}': value for name, value in elsewhere.state_dict().items()}, tmp_path / 'model.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'model.pth'), prefix='backbone.')
    for init_cfg in (pretrained, [dict(type='Normal', layer=['Conv2d', 'Linear'], std=1.0), pretrained]):
        backbone = build(train=train, init_cfg=init_cfg)
        backbone.init_weights()
        assert all(map(torch.equal, backbone(images()), elsewhere(images())))


@pytest.mark.parametrize('options', [dict(train=LORA), dict(train='full', with_cp=True)])
def test_gradients_add_up_over_the_iterations_of_a_step(build, options):
    """Two images in two iterations, of which the second steps, are one batch of two."""
    parameters = []
    for counts in (1, 2):
        backbone = build(**options)
        optimizer = OptimWrapper(torch.optim.SGD(backbone.parameters(), 0.1), accumulative_counts=counts)
        for part in images().chunk(counts):
            with optimizer.optim_context(backbone):
                loss = sum(feature.square().mean() for feature in backbone(part))
            optimizer.update_params(loss)
        parameters.append(dict(backbone.named_parameters()))
    start = dict(build(**options).named_parameters())
    for name, value in parameters[0].items():
        torch.testing.assert_close(parameters[1][name], value, rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(value, start[name]) for name, value in parameters[0].items())


def test_checkpoints_of_lora_hold_the_adapter_and_fit_their_base_alone(build, tmp_path):
    backbone = build(train=LORA)
    step(backbone)
    state = backbone.state_dict()
    other = build(train=LORA)
    other.load_state_dict(state)
    for mine, theirs in zip(other(images()), backbone(images())):
        assert torch.equal(mine, theirs)
    elsewhere = build(train=LORA, diffusion=save_tiny_pipeline(tmp_path, seed=1))
    with pytest.raises(ValueError, match='features of another diffusion model than'):
        elsewhere.load_state_dict(state)
    kept = build(train=LORA, save_frozen=True).state_dict()
    assert 'diffusion.unet.conv_in.weight' in kept and not any('base_layer' in name for name in kept)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(train='full', cached_images=2), '`train` and `text_adapter` off, or the cache'),
        (dict(text_adapter=True, cached_images=2), '`train` and `text_adapter` off, or the cache'),
        (dict(train='full', feature_cache=dict(folder='f')), "keep='latents', or leave feature_cache out"),
        (dict(with_cp=True), 'with_cp=True saves memory where gradients pass the denoiser, and it is frozen'),
    ],
)
def test_what_does_not_go_together_is_named(build, options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_an_adapter_without_texts_is_named(build, tmp_path):
    with pytest.raises(ValueError, match='is told no text that backbone.text_adapter could adapt'):
        build(diffusion=save('ddpm', tmp_path), text_adapter=True)


@pytest.mark.parametrize('train', [None, 'full'])
def test_an_adapter_of_what_no_map_is_told_is_named(build, train):
    """It would learn nothing, and DDP would wait for its gradient."""
    with pytest.raises(ValueError, match=r"the taps \['conv_in'\] come before it is told anything: read other taps"):
        build(text_adapter=True, train=train, taps=['conv_in'])


def test_a_copy_is_refused_where_the_denoiser_is_trained(build):
    """EMAHook would average a denoiser that its copy does not use."""
    with pytest.raises(ValueError, match='is not to be copied, as EMAHook does: take SelfImprovingHook'):
        copy.deepcopy(build(train=LORA))
    model = build(text_adapter=True)
    ours = copy.deepcopy(model)
    assert ours.perception is model.perception and ours.text_adapter.gamma is not model.text_adapter.gamma


def device_of(backbone):
    return backbone.perception.device.type, backbone.perception.vae.encoder.conv_in.weight.device.type


@pytest.fixture
def kept(build, tmp_path):
    """A backbone whose maps of two images are on disk. 'meta' stands for a GPU: it holds no values."""
    cache = dict(folder=str(tmp_path / 'features'), dtype='fp32')
    maps = build(feature_cache=cache).train().features(images())
    backbone = build(feature_cache=cache).train()
    backbone.feature_cache.open(backbone)  # it is named after values
    return backbone, maps


@pytest.mark.parametrize(
    'move', [lambda b: b.to('meta'), lambda b: b.to('meta').to('meta'), lambda b: b.to_empty(device='meta')]
)
def test_what_is_all_found_needs_no_diffusion_model_on_the_device(kept, move):
    backbone, maps = kept
    assert move(backbone) is backbone
    assert backbone.frozen_fingerprint.device.type == backbone._condition.sequence.device.type == 'meta'
    for mine, theirs in zip(backbone.features(images()), maps):
        assert torch.equal(mine, theirs)
    assert device_of(backbone) == ('cpu', 'cpu')
    backbone.bring_diffusion()
    assert device_of(backbone) == ('meta', 'meta')


@pytest.mark.parametrize(
    'count, first', [(1, lambda b: b.features(images(3)[1:])), (2, lambda b: b.eval().features(images()))]
)
def test_the_first_pass_brings_it_along(kept, monkeypatch, count, first):
    backbone, _ = kept
    backbone.to('meta')
    seen = []
    monkeypatch.setattr(backbone, 'pixels', lambda images: seen.append((len(images), *device_of(backbone))) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        first(backbone)
    assert seen == [(count, 'meta', 'meta')]


def test_it_comes_along_at_once_where_its_passes_are_sure(build, tmp_path):
    folder = str(tmp_path / 'features')
    for options in (dict(), dict(feature_cache=dict(folder=folder, keep='latents')), dict(train=LORA)):
        assert device_of(build(**options).to('meta')) == ('meta', 'meta')


def test_a_change_of_dtype_does_not_wait(kept):
    backbone, _ = kept
    assert backbone.double().diffusion.dtype == torch.float64
    backbone.to('meta').float()
    assert backbone.diffusion.dtype == torch.float32 and device_of(backbone) == ('cpu', 'cpu')
    assert (
        device_of(backbone.to('meta', torch.float64)) == ('meta', 'meta') and backbone.diffusion.dtype == torch.float64
    )


def test_weights_of_a_checkpoint_reach_a_model_that_waits(kept, build, tmp_path):
    other = build(save_frozen=True, diffusion=save_tiny_pipeline(tmp_path / 'other', seed=1))
    backbone, maps = kept
    backbone.frozen_fingerprint = backbone.frozen_fingerprint.clone()
    backbone.load_state_dict(other.state_dict())
    assert torch.equal(backbone.diffusion.fingerprint(), other.frozen_fingerprint)
    assert not torch.equal(backbone.features(images())[0], maps[0])


def test_copies_share_it_wherever_it_is(kept):
    """EMAHook validates a copy, whose pass must bring what the other one has sent away."""
    backbone, _ = kept
    ours = copy.deepcopy(backbone.to('meta'))
    ours.bring_diffusion()
    assert device_of(backbone) == ('meta', 'meta') and ours.diffusion is backbone.diffusion


def test_it_leaves_the_device_after_a_while_without_a_pass(kept, monkeypatch):
    monkeypatch.setattr(kept_features, '_IDLE', 3)
    backbone, _ = kept
    moved = []
    monkeypatch.setattr(backbone, 'rest_diffusion', lambda: moved.append(backbone.feature_cache.open(backbone).asked))
    for count in (2, 2, 3, 3, 3, 3, 3):  # the third batch has a new image
        backbone.features(images(count))
    assert moved == [2 + 2 + 3 * 4, 2 + 2 + 3 * 5]  # again: a validation may have brought it back


def test_maps_in_memory_are_not_those_of_other_weights(build, tmp_path):
    other = build(save_frozen=True, diffusion=save_tiny_pipeline(tmp_path / 'other', seed=1))
    backbone, plain = build(cached_images=4), build()
    before = backbone(images())[0]
    for loaded in (backbone, plain):
        loaded.load_state_dict(other.state_dict())
    after = backbone(images())[0]
    assert not torch.equal(after, before)
    assert_same(after, plain(images())[0])
