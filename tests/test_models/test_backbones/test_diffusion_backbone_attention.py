"""DiffusionBackbone with the cross-attention maps of VPD, and with its padding."""

import json

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from mmengine.registry import MODELS
from safetensors.torch import save_file
from torch import nn

import diff2in1_mm  # noqa: F401
from diff2in1_mm.creation.batch_labels import BatchLabels

from ...golden_values import Golden
from ...small_models import assert_same

TOKENS = 5


@pytest.fixture
def build(pipeline_folder, tmp_path):
    save_file(
        {'tokens': torch.randn(TOKENS, 16, generator=torch.Generator().manual_seed(1))}, tmp_path / 'tokens.safetensors'
    )

    def make(**options):
        options = dict(
            dict(
                diffusion=pipeline_folder,
                attention_maps=True,
                condition=dict(type='PrecomputedEmbeddings', path=str(tmp_path / 'tokens.safetensors')),
            ),
            **options,
        )
        return MODELS.build(dict(type='DiffusionBackbone', **options)).eval()

    return make


def images(height, width, count=1):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


@pytest.mark.parametrize('train', [None, 'full'])
def test_it_equals_the_vpd_code(golden, tmp_path, monkeypatch, train):
    """The whole chain behind the encoder: one pass, the features, the maps, their order; also trained."""
    values = Golden(golden, 'vpd_unet')
    options = json.loads((golden / 'unet_taps.json').read_text())['diffusers']
    unet = UNet2DConditionModel(**options['UNet2DConditionModel_kwargs'])
    state = {key.replace('unet.', 'model.', 1): value for key, value in values.state().items()}
    unet.load_state_dict(convert_ldm_unet_checkpoint(state, dict(unet.config)))
    unet.save_pretrained(tmp_path / 'unet')
    AutoencoderKL(
        down_block_types=['DownEncoderBlock2D'] * 4,
        up_block_types=['UpDecoderBlock2D'] * 4,
        block_out_channels=[8] * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    ).save_pretrained(tmp_path / 'vae')
    (tmp_path / 'scheduler').mkdir()
    (tmp_path / 'scheduler' / 'scheduler_config.json').write_text('{}')
    save_file({'c': values.input('context')}, tmp_path / 'context.safetensors')

    backbone = MODELS.build(
        dict(
            type='DiffusionBackbone',
            diffusion=str(tmp_path),
            attention_maps=True,
            scale_latents=False,
            train=train,
            condition=dict(type='PrecomputedEmbeddings', path=str(tmp_path / 'context.safetensors')),
        )
    )
    monkeypatch.setattr(backbone.perception, 'encode', lambda pixels, *_, scaled: values.input('latents'))
    features = backbone(images(512, 512))
    for i, feature in enumerate(features):
        parts = dict(features=feature)
        if i in (1, 2):
            parts = dict(features=feature[:, :-150], attention=feature[:, -150:])
        for name, part in parts.items():
            key = f'out{i}.{name}'
            assert values.error(key, part) <= 5 * values.rounding(key)


@pytest.mark.parametrize('size', [(64, 48), (33, 50), (1, 1)])
@pytest.mark.parametrize('taps', ['decoder', 'all'])
def test_maps_of_any_size_follow_the_features(build, size, taps):
    with_maps, plain = build(taps=taps), build(taps=taps, attention_maps=False)
    # tiny: strides 4, 8 and 16, cross-attention in the two coarser ones
    assert with_maps.out_channels == tuple(
        c + (TOKENS if s > 4 else 0) for c, s in zip(plain.out_channels, plain.strides)
    )
    image = images(*size, 2)
    for ours, theirs, channels in zip(with_maps(image), plain(image), with_maps.out_channels):
        assert ours.shape == (2, channels, *theirs.shape[-2:])
        assert torch.equal(ours[:, : theirs.shape[1]], theirs)
        if channels > theirs.shape[1]:
            assert_same(ours[:, -TOKENS:].sum(1), torch.ones_like(theirs[:, 0]))


def test_one_pass_serves_features_and_maps(build, monkeypatch):
    backbone, image = build(), images(32, 48, 2)
    passes, forward = [], backbone.diffusion.unet.forward
    monkeypatch.setattr(backbone.diffusion.unet, 'forward', lambda *a, **k: passes.append(1) or forward(*a, **k))
    maps = backbone.features(image)
    assert len(passes) == 1
    with backbone.serve([m[1:] for m in maps]):
        served = backbone(image[1:])
    assert len(passes) == 1
    for a, b in zip(served, maps):
        assert torch.equal(a, b[1:])


def test_maps_go_into_projections_caches_and_half_precision(build, pipeline_folder):
    backbone = build(out_channels=[8, 8, 8], cached_images=2)
    image = images(32, 32)
    first, again = backbone(image), backbone(image)
    assert [m.shape[1] for m in first] == [8, 8, 8] and torch.equal(first[1], again[1])
    half = build(diffusion=dict(source=pipeline_folder, dtype='bf16'))(image)[1]
    assert_same(half[:, -TOKENS:], build()(image)[1][:, -TOKENS:], 0.05)


def test_taps_without_such_strides_are_named(build):
    with pytest.raises(ValueError, match=r'no cross-attention at the strides of the taps \(4,\)'):
        build(taps=['conv_in'])


def test_labels_of_the_last_step_are_refused(build):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = build()

    import diff2in1_mm.creation.batch_labels as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'labeller_for', lambda *_: type('L', (), dict(task='segmentation', confidence=None)))
        with pytest.raises(ValueError, match="tokens of backbone.condition: set it to 'fresh'"):
            BatchLabels(Model(), 'last_step')


def test_kept_padding_is_grey_and_stays_in_the_maps(build):
    image = images(40, 24)
    padded = F.pad(image, (0, 8, 0, 8))
    kept = build(keep_padding=True)(image)
    assert [tuple(m.shape[-2:]) for m in kept] == [(12, 8), (6, 4), (3, 2)]
    for a, b in zip(kept, build()(padded)):
        assert torch.equal(a, b)
