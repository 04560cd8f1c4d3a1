"""Features on disk: found again by other backbones, in training, and never where they would be wrong."""

from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import MODELS

import diff2in1_mm  # noqa: F401
from diff2in1_mm.models.backbones import kept_features
from diff2in1_mm.utils.errors import UserError
from tests.family_models import save
from tests.processes import context
from tests.small_models import assert_same, save_tiny_pipeline


@pytest.fixture
def build(pipeline_folder, tmp_path):
    def make(cache=None, **options):
        options = dict(dict(diffusion=pipeline_folder), **options)
        if cache is not None:
            options['feature_cache'] = dict(folder=str(tmp_path / 'features'), **cache)
        torch.manual_seed(0)
        return MODELS.build(dict(type='DiffusionBackbone', **options)).train()

    return make


def random_images(count=16, height=32, width=48):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.fixture
def images():
    return random_images(3, 45, 70)


def count(backbone, monkeypatch):
    """Images that autoencoder and denoiser see."""
    seen = dict(vae=0, denoiser=0)

    def counting(name, method):
        def call(first, *args, **kwargs):
            seen[name] += len(first)
            return method(first, *args, **kwargs)

        return call

    monkeypatch.setattr(backbone.diffusion, 'moments', counting('vae', backbone.diffusion.moments))
    monkeypatch.setattr(backbone.diffusion, 'predict', counting('denoiser', backbone.diffusion.predict))
    return seen


@pytest.mark.parametrize('dtype, tolerance', [('fp32', 0), ('fp16', 2**-10), ('bf16', 2**-7)])
def test_maps_are_found_by_another_backbone(build, images, monkeypatch, dtype, tolerance):
    options = dict(taps='all', attention_maps=True, out_channels=[4, 4, 4])
    plain, first, later = build(**options), build(dict(dtype=dtype), **options), build(dict(dtype=dtype), **options)
    made = first.features(images[:2])
    for mine, theirs in zip(made, plain.features(images[:2])):
        assert mine.dtype == theirs.dtype and mine.is_contiguous()
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=tolerance or 1e-5)
    seen = count(later, monkeypatch)
    found = later.features(images[[1, 0, 1]])
    assert seen == dict(vae=0, denoiser=0)
    assert all(torch.equal(mine, theirs[[1, 0, 1]]) for mine, theirs in zip(found, made))
    assert [feature.shape for feature in later(images[:1])] == [feature.shape for feature in plain(images[:1])]
    later.features(images)  # of which one is new
    assert seen == dict(vae=1, denoiser=1)
    assert MessageHub.get_current_instance().get_scalar('train/cache_hits').current() == pytest.approx(2 / 3)


def test_int8_has_a_scale_for_each_channel_of_an_image(build, images, monkeypatch):
    plain, first, later = build(), build(dict(dtype='int8')), build(dict(dtype='int8'))
    made = first.features(images)
    seen = count(later, monkeypatch)
    found = later.features(images)
    assert seen == dict(vae=0, denoiser=0)
    for mine, again, theirs in zip(made, found, plain.features(images)):
        assert torch.equal(mine, again) and mine.dtype == torch.float32
        step = theirs.abs().amax((-2, -1), keepdim=True) / 127
        assert ((mine - theirs).abs() <= 0.51 * step).all()
        assert (mine != theirs).any()


@pytest.mark.parametrize('options', [dict(), dict(noise=True, timestep=50), dict(sample_posterior=True)])
def test_latents_leave_the_denoiser_to_work(build, images, monkeypatch, options):
    plain, first = build(**options), build(dict(keep='latents', dtype='fp32'), **options)
    expected = plain.features(images)
    made = first.features(images)
    later = build(dict(keep='latents', dtype='fp32'), **options)
    seen = count(later, monkeypatch)
    found = later.features(images)
    assert seen == dict(vae=0, denoiser=3)
    for mine, again, theirs in zip(made, found, expected):
        assert_same(mine, theirs)
        assert torch.equal(again, mine)
    MessageHub.get_current_instance().update_info('iter', 7)  # noise and samples are others in every iteration
    changed = [not torch.equal(now, before) for now, before in zip(later.features(images), found)]
    assert all(changed) if options else not any(changed)
    rounded = build(dict(keep='latents'), **options).features(images)
    for mine, theirs in zip(rounded, plain.features(images)):
        torch.testing.assert_close(mine, theirs, atol=2e-2, rtol=2e-2)


def test_only_training_is_kept(build, images, monkeypatch, tmp_path):
    backbone = build({})
    seen = count(backbone, monkeypatch)
    with backbone.feature_cache.paused():
        backbone.features(images)
    backbone.eval().features(images)
    assert seen['vae'] == 6 and not (tmp_path / 'features').exists()
    backbone.train().features(images)
    backbone.eval().features(images)
    assert seen['vae'] == 12 and len(list(tmp_path.glob('features/*/*/*'))) == 3


def test_what_features_depend_on_is_kept_apart(build, tmp_path):
    def folder(cache=None, **options):
        backbone = build(cache or {}, **options)
        return backbone.feature_cache.open(backbone).folder

    other = save_tiny_pipeline(tmp_path / 'other', seed=1)
    ones = [
        folder(),
        folder(diffusion=str(other)),
        folder(diffusion=dict(source=str(other), dtype='bf16')),
        folder(taps='all'),
        folder(timestep=20),
        folder(timestep=[20, 30], join_levels='mean'),
        folder(condition=dict(type='Prompt', text='a room')),
        folder(input_mean=100.0),
        folder(input_bgr=True),
        folder(scale_latents=False),
        folder(keep_padding=True),
        folder(image_scale=2),
        folder(dict(dtype='fp32')),
        folder(dict(keep='latents')),
        folder(dict(keep='latents'), sample_posterior=True),
        folder(dict(keep='latents'), diffusion=str(other)),
    ]
    assert len(set(ones)) == len(ones)
    assert folder(dict(views=2, limit=1.0), out_channels=[4, 4, 4], feature_dropout=0.5) == ones[0]
    assert folder(dict(keep='latents'), timestep=[20, 30], noise=True, taps='all') == ones[13]


@pytest.mark.parametrize(
    'cache, options, words',
    [
        (dict(), dict(noise=True), "same every time, but noise changes them: set feature_cache.keep='latents'"),
        (dict(), dict(noise=True, sample_posterior=True), 'but noise and sample_posterior'),
        (dict(dtype='int4'), dict(), r"feature_cache.dtype must be one of .*'int8'\), not 'int4'"),
        (dict(dtype='int8', keep='latents'), dict(), "dtype='int8' is for maps"),
        (dict(keep='images'), dict(), 'feature_cache.keep must be one of'),
        (dict(views=-1), dict(), 'feature_cache.views = -1 must be a whole number of at least 0'),
        (dict(views=dict(cont=3)), dict(), "feature_cache.views has no option 'cont'; did you mean 'count'"),
        (dict(views=dict(count=-3)), dict(), 'feature_cache.views.count = -3 must be a whole number of at least 0'),
        (dict(limit=0), dict(), 'feature_cache.limit = 0 must be a number of gigabytes above 0'),
    ],
)
def test_what_would_be_wrong_is_refused(build, cache, options, words):
    with pytest.raises(ValueError, match=words):
        build(cache, **options)


@pytest.mark.parametrize(
    'cache, words',
    [
        (dict(views=2), 'feature_cache needs a folder'),
        (True, 'backbone.feature_cache = True must be a dict that names a folder'),
        (dict(folder=None), 'feature_cache.folder = None must be the path of a folder'),
        (dict(folder=3), 'feature_cache.folder = 3 must be the path'),
        (dict(folder=''), "feature_cache.folder = '' must be the path"),
        (dict(folder='~nobody-of-that-name/features'), 'names the home of no user: write the whole path'),
        (dict(folder='file'), "feature_cache.folder = 'file' is to be a folder, but .*file is none: name another"),
        (dict(folder='file/below'), "'file/below' is to be a folder, but .*file is none"),
    ],
)
def test_a_folder_has_to_be_named(pipeline_folder, tmp_path, monkeypatch, cache, words):
    monkeypatch.chdir(tmp_path)
    Path('file').write_text('')
    with pytest.raises(UserError, match=words):
        MODELS.build(dict(type='DiffusionBackbone', diffusion=pipeline_folder, feature_cache=cache))


@pytest.mark.skipif(not Path('/proc').is_dir(), reason='no place where nobody can make a folder')
def test_a_folder_that_cannot_be_made_is_named_in_training_only(pipeline_folder, images):
    cache = dict(folder='/proc/features')
    backbone = MODELS.build(dict(type='DiffusionBackbone', diffusion=pipeline_folder, feature_cache=cache))
    assert backbone.eval().features(images[:1])
    with pytest.raises(UserError, match="feature_cache.folder = '/proc/features' cannot be made or read .*: name a"):
        backbone.train().features(images[:1])


def fill(options, order, barrier, out):
    """A process of its own: features of images in an order, one after the other, when all are ready."""
    torch.set_num_threads(1)
    backbone = MODELS.build(dict(type='DiffusionBackbone', **options)).train()
    barrier.wait(120)
    torch.save({i: backbone.features(random_images()[i : i + 1]) for i in order}, out)


def test_processes_that_fill_a_folder_at_once_find_what_is_right(pipeline_folder, build, tmp_path):
    """Other images at first, the same ones in the middle; a GPU each in a distributed run, or two runs."""
    options = dict(diffusion=str(pipeline_folder), feature_cache=dict(folder=str(tmp_path / 'features')))
    orders, barrier = ([*range(16)], [*range(15, -1, -1)]), context.Barrier(2)
    processes = [
        context.Process(target=fill, args=(options, order, barrier, tmp_path / f'{n}.pt'))
        for n, order in enumerate(orders)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        assert process.exitcode == 0
    files = [path for path in tmp_path.glob('features/*/*/*') if path.is_file()]
    assert len(files) == 16 and not any(path.suffix == '.tmp' for path in files)
    (about,) = tmp_path.glob('features/*/about.json')
    later, seen = build({}), [torch.load(tmp_path / f'{n}.pt', weights_only=True) for n in range(2)]
    for i in range(16):
        found = later.features(random_images()[i : i + 1])
        for mine, first, other in zip(found, seen[0][i], seen[1][i]):
            assert torch.equal(mine, first) and torch.equal(mine, other)
    assert later.feature_cache.open(later).made == 0 and later.feature_cache.open(later).folder == about.parent


def test_models_without_an_autoencoder_keep_maps_only(build, tmp_path):
    folder = save('ddpm', tmp_path / 'ddpm')
    with pytest.raises(ValueError, match="has none: set feature_cache.keep='maps'"):
        build(dict(keep='latents'), diffusion=folder)


def test_a_trained_denoiser_keeps_latents_only(build, images):
    with pytest.raises(ValueError, match="parts of this one are trained: set feature_cache.keep='latents'"):
        build(dict(keep='maps'), train='full')
    assert build(dict(keep='latents'), train='full').features(images)


def test_values_beyond_the_range_are_named(build, images):
    backbone = build({})
    backbone.diffusion.unet.up_blocks[-1].resnets[-1].conv2.bias.data.fill_(1e5)
    with pytest.raises(ValueError, match="reach 1e.05, beyond what torch.float16 holds: set .*dtype='bf16'"):
        backbone.features(images)


def test_other_weights_in_a_checkpoint_are_not_mistaken(build, images, tmp_path):
    other = build(save_frozen=True, diffusion=str(save_tiny_pipeline(tmp_path / 'other', seed=1)))
    backbone, plain = build({}), build()
    before = backbone.features(images)
    for loaded in (backbone, plain):
        loaded.load_state_dict(other.state_dict())
    after = backbone.features(images)
    assert not torch.equal(after[0], before[0])
    torch.testing.assert_close(after[0], plain.features(images)[0], atol=1e-3, rtol=1e-3)


def test_size_on_disk_is_known_before(build, images):
    for cache, options in (
        (dict(), dict(taps='all', attention_maps=True)),
        (dict(dtype='fp32'), dict(timestep=[20, 30])),
        (dict(dtype='int8'), dict(taps='all')),
        (dict(keep='latents'), dict(sample_posterior=True)),
    ):
        backbone = build(cache, **options)
        image = images[..., :48, :64] if 'keep' in cache else images  # latents are of padded images
        backbone.features(image[:1])
        kept = backbone.feature_cache.open(backbone)
        (file,) = kept.folder.glob('*/*')
        told = backbone.feature_cache.bytes_of(backbone, tuple(image.shape[-2:]))
        assert 0 < file.stat().st_size - told < 1000  # the header


def test_a_cache_that_finds_nothing_says_so(build, images, monkeypatch, logged):
    monkeypatch.setattr(kept_features, '_ENOUGH', 6)
    backbone = build({})
    for shift in range(3):
        backbone.features(images / (1 + shift))
    assert len([line for line in logged if 'found 0 of the first 6 images again' in line]) == 1
    fine = build({})
    for _ in range(3):
        fine.features(images)
    assert len([line for line in logged if 'images again' in line]) == 1
