import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from mmcv.ops import RoIAlign
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage, ImgDataPreprocessor
from mmengine.registry import MODELS
from torch import nn

import diff2in1_mm  # noqa: F401
from diff2in1_mm.models.backbones import normalised
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone
from diff2in1_mm.utils.optional import is_installed

from ...small_models import assert_same, save_tiny_pipeline
from ...versions import before, needs_detectors, needs_float16


@pytest.fixture
def build(pipeline_folder):
    def make(**options):
        options = dict(dict(diffusion=pipeline_folder), **options)
        torch.manual_seed(0)
        return MODELS.build(dict(type='DiffusionBackbone', **options))

    return make


def images(height, width, count=1):
    """Normalised with MMSeg's 127.5 / 127.5, that is, in [-1, 1]."""
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


@pytest.mark.parametrize('size', [(512, 512), (333, 517), (1, 1)])
@pytest.mark.parametrize('taps', ['decoder', 'all'])
def test_features_equal_a_plain_diffusers_forward_with_hooks(build, pipeline, size, taps):
    image = images(*size)
    padded = F.pad(image, (0, -size[1] % 16, 0, -size[0] % 16), mode='replicate')
    backbone = build(taps=taps)
    kept = {}
    handles = [
        pipeline.unet.get_submodule(name).register_forward_hook(
            lambda m, i, output, name=name: kept.__setitem__(name, output[0] if isinstance(output, tuple) else output)
        )
        for name in backbone.tap_names
    ]
    with torch.no_grad():
        ids = pipeline.tokenizer([''], padding='max_length', return_tensors='pt').input_ids
        latents = pipeline.vae.encode(padded).latent_dist.mean * 0.5
        noised = latents  # t = 1, without noise
        pipeline.unet(noised, 1, pipeline.text_encoder(ids)[0])
    for handle in handles:
        handle.remove()
    features = backbone(image)
    assert len(features) == len(backbone.strides) == 3
    for feature, group, stride, channels in zip(features, backbone.groups, backbone.strides, backbone.out_channels):
        height, width = (-(-side // stride) for side in size)
        assert feature.shape == (1, channels, height, width)
        expected = torch.cat([kept[tap.name] for tap in group], 1)[..., :height, :width]
        assert_same(feature, expected)


def test_any_normalisation_is_undone(build):
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    raw = torch.randint(0, 256, (2, 3, 40, 24)).float()
    imagenet = (raw - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    plain, undone = build(), build(input_mean=mean, input_std=std)
    for a, b in zip(plain((raw - 127.5) / 127.5), undone(imagenet)):
        assert_same(b, a, 1e-4)
    assert_same(undone.from_unit_range(undone.to_unit_range(imagenet)), imagenet)
    bgr = build(input_bgr=True)
    for a, b in zip(plain((raw - 127.5) / 127.5), bgr((raw.flip(1) - 127.5) / 127.5)):
        assert_same(b, a)


def test_a_normalisation_that_misses_the_range_is_named(build):
    with pytest.raises(ValueError, match=r'in \[-1.00, 200.00\] instead of \[-1, 1\]: set'):
        build()(torch.full((1, 3, 16, 16), 200.0) * torch.linspace(-0.005, 1, 16))
    with pytest.raises(ValueError, match=r'in \[-2.1'):  # ImageNet's
        build()(torch.linspace(-2.1, 2.6, 16).expand(1, 3, 16, 16))
    preprocessor = nn.Module()
    preprocessor.mean, preprocessor.std = torch.full((3, 1, 1), 120.0), torch.full((3, 1, 1), 60.0)
    with pytest.raises(ValueError, match=r'backbone.input_mean is \[127.5, 127.5, 127.5\]'):
        build().check_normalisation(preprocessor)
    build(input_mean=120.0, input_std=60.0).check_normalisation(preprocessor)


def test_what_augmentation_does_not_cut_is_cut(build):
    """MMDetection's distortion makes numbers that no 8-bit image has."""
    transforms = pytest.importorskip('mmdet.datasets.transforms')
    np.random.seed(0)
    distort = transforms.PhotoMetricDistortion()
    photos = [np.random.randint(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(40)]
    pixels = torch.from_numpy(np.stack([distort(dict(img=photo))['img'] for photo in photos]))
    batch = pixels.permute(0, 3, 1, 2) / 127.5 - 1
    assert batch.min() < -1.1 and batch.max() > 1.5
    for a, b in zip(build()(batch), build()(batch.clamp(-1, 1))):
        assert_same(a, b)


@pytest.mark.parametrize('bgr_to_rgb, input_bgr', [(True, False), (False, True), (False, False), (True, True)])
def test_exchanged_channels_are_warned_of(build, monkeypatch, bgr_to_rgb, input_bgr):
    said = []
    monkeypatch.setattr(normalised, 'print_log', lambda text, *_, **__: said.append(text))
    options = dict(mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=bgr_to_rgb)
    preprocessors = [ImgDataPreprocessor(**options)]
    if is_installed('mmseg'):
        from mmseg.models import SegDataPreProcessor

        preprocessors.append(SegDataPreProcessor(**options))
    for preprocessor in preprocessors:
        build(input_bgr=input_bgr).check_normalisation(preprocessor)
    assert len(said) == (len(preprocessors) if bgr_to_rgb == input_bgr else 0)
    assert all('red and blue exchanged' in text for text in said)


def test_stays_frozen_and_outside_the_module_tree(build):
    model = nn.Sequential(build(), nn.Conv2d(3, 3, 1))
    model.train()
    assert not any(module.training for module in model[0].diffusion.modules())
    assert not list(model[0].parameters())
    assert set(model.state_dict()) == {'0.frozen_fingerprint', '1.weight', '1.bias'}
    features = model[0](images(32, 32).requires_grad_())
    assert not any(feature.requires_grad for feature in features)
    model.double()
    assert model[0].diffusion.dtype == torch.float64


def test_an_averaged_copy_shares_what_is_frozen(build):
    """MMEngine's EMAHook deep-copies the model."""
    model = build(out_channels=[4, 4, 4], cached_images=2)
    ours = ExponentialMovingAverage(model).module
    assert ours.diffusion is model.diffusion and ours._cache is model._cache
    assert ours.projections[0].weight is not model.projections[0].weight
    batch = images(32, 32)
    for a, b in zip(ours(batch), model(batch)):
        assert torch.equal(a, b)


@pytest.mark.parametrize('options', [dict(), dict(taps='all', attention_maps=True)])
def test_a_model_without_a_middle_block(build, pipeline_folder, tmp_path, options):
    folder = shutil.copytree(pipeline_folder, tmp_path / 'model')
    config = UNet2DConditionModel.load_config(folder, subfolder='unet')
    UNet2DConditionModel.from_config(config, mid_block_type=None).save_pretrained(folder / 'unet')
    backbone = build(diffusion=str(folder), **options)
    assert [m.shape[1] for m in backbone(images(32, 32))] == list(backbone.out_channels)


def test_projections_give_what_a_stock_neck_expects(build):
    backbone = build(out_channels=[8, 12, 16, 20], out_strides=[4, 8, 16, 32])
    maps = backbone(images(45, 70))
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 12, 18), (12, 6, 9), (16, 3, 5), (20, 2, 3)]
    sum(m.sum() for m in maps).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    with pytest.raises(ValueError, match='must have the same length'):
        build(out_channels=[8])


def test_each_output_takes_a_map(build):
    assert build(out_channels=[8] * 3, out_strides=[4, 8, 8]).output_maps == [0, 1, 2]
    # not from fine to coarse: the map of that stride
    assert build(out_channels=[8] * 3, out_strides=[8, 16, 8]).output_maps == [1, 2, 1]
    assert build(out_channels=[8] * 2, out_strides=[8, 32]).output_maps == [1, 2]


def test_maps_that_nobody_reads_are_left_as_they_are(build):
    backbone, plain = build(out_channels=[None, 8, None], out_strides=[4, 4, 4]), build()
    assert backbone.out_channels == (plain.out_channels[0], 8, plain.out_channels[2])
    assert {name for name, _ in backbone.named_parameters()} == {'projections.1.weight', 'projections.1.bias'}
    batch = images(45, 70)
    maps, unprojected = backbone(batch), plain(batch)
    assert torch.equal(maps[0], unprojected[0]) and torch.equal(maps[2], unprojected[2])


def test_served_maps_replace_the_pass(build, monkeypatch):
    backbone, batch = build(), images(32, 48, 3)
    maps, expected = backbone.features(batch), backbone(batch)
    monkeypatch.setattr(backbone.diffusion, 'predict', lambda *a: pytest.fail('ran the U-Net'))
    with backbone.serve([m[1:] for m in maps]):
        for served, whole in zip(backbone(batch[1:]), expected):
            assert torch.equal(served, whole[1:])
        with backbone.serve(maps):
            assert len(backbone(batch)[0]) == 3
        assert len(backbone(batch[1:])[0]) == 2
    assert backbone._served is None


def test_the_last_denoising_pass_gives_features(build):
    backbone, batch = build(), images(33, 48, 2)
    latents = backbone.diffusion.encode(batch)
    maps = backbone.diffusion.predict(latents, 1, backbone._condition, backbone.tap_names)[1]
    for mine, theirs in zip(backbone.from_taps(maps, (33, 48)), backbone.features(batch)):
        assert torch.equal(mine, theirs)


def test_noise_derives_from_seed_iteration_and_sample(build):
    hub = MessageHub.get_current_instance()
    backbone, batch = build(noise=True, sample_posterior=True, timestep=50), images(32, 32)
    batch = batch.expand(2, -1, -1, -1)

    def run(iteration):
        hub.update_info('iter', iteration)
        return backbone(batch)[0]

    backbone.eval()
    first = run(0)
    assert torch.equal(first[0], first[1]) and torch.equal(first, run(1))
    backbone.train()
    first, second = run(0), run(1)
    assert not torch.allclose(first[0], first[1]) and not torch.allclose(first, second)
    torch.manual_seed(5)
    assert torch.equal(first, run(0))


def test_feature_dropout_is_for_training_and_reproducible(build):
    backbone, batch = build(feature_dropout=0.5), images(32, 32, 2)
    plain = backbone.eval()(batch)[0]
    MessageHub.get_current_instance().update_info('iter', 3)
    dropped = backbone.train()(batch)[0]
    zero = (dropped == 0).all(-1).all(-1)
    assert 0.1 < zero.float().mean() < 0.9 and not torch.equal(zero[0], zero[1])
    assert_same(dropped[~zero], 2 * plain[~zero])
    assert torch.equal(dropped, backbone(batch)[0])


def test_a_checkpoint_of_another_diffusion_model_is_refused(build, tmp_path):
    backbone, other = build(), save_tiny_pipeline(tmp_path, seed=1)
    state = backbone.state_dict()
    build(diffusion=dict(source=backbone.diffusion.source, dtype='bf16')).load_state_dict(state)
    with pytest.raises(ValueError, match='features of another diffusion model than'):
        MODELS.build(dict(type='DiffusionBackbone', diffusion=other)).load_state_dict(state)


def test_frozen_weights_are_written_on_demand(build, tmp_path):
    state = build(save_frozen=True).state_dict()
    assert sum(key.startswith('diffusion.unet.') for key in state) > 100
    other = DiffusionBackbone(save_tiny_pipeline(tmp_path, seed=1))
    other.load_state_dict(state)
    assert torch.equal(other.diffusion.unet.conv_in.weight, state['diffusion.unet.conv_in.weight'])


@pytest.mark.parametrize(
    'options,words',
    [
        (dict(timestep=1000), 'backbone.timestep = 1000 is out of range'),
        (dict(feature_dropout=1.0), r'must be in \[0, 1\)'),
        (dict(input_std=0.0), 'must be positive'),
        (dict(cached_images=5, noise=True), 'or the cache'),
        (dict(cached_images=-1), 'backbone.cached_images = -1 must be a whole number of at least 0'),
        (dict(cached_images='x'), "backbone.cached_images = 'x' must be a whole number of at least 0"),
        (dict(condition=dict(type='ComposedCaption')), 'serves the generator'),
    ],
)
def test_bad_options_are_named(build, options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_a_stock_pretrained_is_ignored_with_a_warning(build):
    with pytest.warns(UserWarning, match='`pretrained=open-mmlab://resnet50_v1c` belongs to'):
        build(pretrained='open-mmlab://resnet50_v1c')


def test_cached_images_are_not_run_again(build, monkeypatch):
    plain, cached, batch = build(), build(cached_images=3), images(32, 48, 4)
    first = cached(batch[:3])
    for mine, theirs in zip(first, plain(batch[:3])):
        assert_same(mine, theirs)
    passes, run = [], cached._run
    monkeypatch.setattr(cached, '_run', lambda x: passes.append(len(x)) or run(x))
    again = cached(batch[[2, 0]])
    assert not passes and torch.equal(again[0], first[0][[2, 0]])
    cached(batch[2:])
    assert passes == [1] and len(cached._cache) == 3
    cached(batch[1:2])  # the least recently used had to go
    assert passes == [1, 1]


def test_maps_made_under_autocast_serve_a_pass_without(build):
    backbone, batch = build(cached_images=2, out_channels=[4, 4, 4]), images(32, 48, 2)
    backbone.diffusion.to(torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16):
        served = backbone.features(batch[:1])
    assert {feature.dtype for feature in served} == {torch.bfloat16}
    with backbone.serve(served):
        assert all(feature.dtype == torch.float32 for feature in backbone(batch[:1]))
    # one image comes from the cache, the other is new
    assert all(feature.dtype == torch.float32 for feature in backbone(batch))


def make_channels_last(backbone, monkeypatch):
    """The layout that a U-Net on a GPU gives its maps."""
    predict = backbone.diffusion.predict

    def predict_as_a_gpu(*args):
        output, maps = predict(*args)
        return output, {
            name: feature.to(memory_format=torch.channels_last) if feature.ndim == 4 else feature
            for name, feature in maps.items()
        }

    monkeypatch.setattr(backbone.diffusion, 'predict', predict_as_a_gpu)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(taps='all', attention_maps=True),
        dict(keep_padding=True),
        dict(cached_images=2),
        dict(feature_dropout=0.5),
        dict(out_channels=[4, None, 4]),
        dict(out_channels=[4] * 4, out_strides=[2, 4, 8, 16]),
    ],
)
@pytest.mark.parametrize('size', [(64, 48), (45, 70)])
def test_maps_are_contiguous_whatever_the_layout_inside(build, monkeypatch, options, size):
    backbone, batch = build(**options), images(*size, 2)
    make_channels_last(backbone, monkeypatch)
    for _ in range(2):  # the cache answers the second time
        assert all(feature.is_contiguous() for feature in backbone.features(batch))
        assert all(feature.is_contiguous() for feature in backbone(batch))
    with backbone.serve([feature.to(memory_format=torch.channels_last) for feature in backbone.features(batch)]):
        assert all(feature.is_contiguous() for feature in backbone(batch))


@needs_detectors
@pytest.mark.parametrize('size', [(64, 48), (45, 70)])
def test_boxes_are_read_where_they_are(build, monkeypatch, size):
    backbone, batch = build(taps=['down_blocks.0.resnets.0']), images(*size)
    make_channels_last(backbone, monkeypatch)
    read, box = RoIAlign(3, spatial_scale=1 / 4), torch.tensor([[0.0, 4, 8, 40, 36]])
    lateral = nn.Conv2d(16, 8, 1)  # passes the layout on, as FPN's do
    (feature,) = backbone(batch)
    expected = feature.clone(memory_format=torch.contiguous_format)
    assert torch.equal(read(feature, box), read(expected, box))
    maps = lateral(expected).clone(memory_format=torch.contiguous_format)
    assert_same(read(lateral(feature), box), read(maps, box))


@pytest.mark.parametrize(
    'options', [dict(taps='all', attention_maps=True), dict(out_channels=[4, 4, 4]), dict(cached_images=2)]
)
@pytest.mark.parametrize('autocast', [pytest.param(torch.float16, marks=needs_float16), torch.bfloat16])
def test_heads_under_autocast_get_maps_of_its_dtype_or_single_precision(build, pipeline_folder, options, autocast):
    batch = images(45, 70)
    plain = build(**options).features(batch)
    dtypes = dict(bf16=torch.bfloat16, fp32=torch.float32)
    for name, dtype in (dtypes if before('torch', '2.4') else dict(dtypes, fp16=torch.float16)).items():
        backbone = build(diffusion=dict(source=pipeline_folder, dtype=name), **options)
        with torch.autocast('cpu', autocast):
            maps, outputs = backbone.features(batch), backbone(batch)
            for feature, expected in zip(maps, plain):
                assert feature.dtype == (dtype if dtype == autocast else torch.float32)
                assert_same(feature.float(), expected, 0.1)
            for feature in outputs:  # as a neck joins them with maps of its own
                torch.cat([feature, torch.zeros_like(feature, dtype=autocast)])
        assert all(feature.dtype == torch.float32 for feature in backbone(batch))


@needs_float16
def test_maps_served_from_another_autocast_are_converted(build):
    backbone, batch = build(), images(32, 48)
    backbone.diffusion.to(torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16):
        served = backbone.features(batch)
    assert served[0].dtype == torch.bfloat16
    with backbone.serve(served), torch.autocast('cpu', torch.float16):
        assert all(feature.dtype == torch.float32 for feature in backbone(batch))


@pytest.mark.parametrize('what, part', [('latents', 'encode'), ('maps', 'predict')])
def test_features_that_are_no_numbers_are_told_at_the_first_batch(build, monkeypatch, what, part):
    backbone = build()
    plain = getattr(backbone.diffusion, part)

    def overflowing(*args, **options):
        result = plain(*args, **options)
        if part == 'encode':
            return result * float('inf')
        return result[0], {name: tap * float('inf') for name, tap in result[1].items()}

    monkeypatch.setattr(backbone.diffusion, part, overflowing)
    with pytest.raises(ValueError, match=f'gives {what} that are not numbers in torch.float32'):
        backbone(images(33, 48, 2))
    monkeypatch.setattr(backbone.diffusion, part, plain)
    backbone(images(33, 48, 2))
