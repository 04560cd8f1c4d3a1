"""tools/train_diffusion.py from a folder of images to a pipeline that diffusers loads."""

import contextlib
import io
import os
import runpy
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from mmengine.config import Config
from safetensors import safe_open
from safetensors.torch import load_file

from diff2in1_mm.creation import stage as creation_stage
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.hooks.checkpoint import AtomicCheckpointHook
from diff2in1_mm.pretraining import training as diffusion_training

from ..processes import run_in_two_processes
from ..small_models import save_tiny_pipeline, tiny_pipeline

ROOT = Path(__file__).resolve().parents[2]
TOOL = str(ROOT / 'tools' / 'train_diffusion.py')


def train(place, *flags, options=()):
    """Run the tool in this process; what it printed as an error, or None."""
    command = [
        str(place / 'config.py'),
        '--work-dir',
        str(place / 'work'),
        *flags,
        '--cfg-options',
        f'data_root={place}',
        *options,
    ]
    main, said = runpy.run_path(TOOL)['main'], io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            main(command)
    except SystemExit as stop:
        assert stop.code == 2
        return said.getvalue().strip()
    finally:
        print(said.getvalue(), file=sys.stderr)
    return None


def weights(folder):
    """All tensors of a pipeline by part and name."""
    return {
        (part, name): tensor
        for part in ('vae', 'unet', 'text_encoder')
        for path in sorted(Path(folder, part).glob('*.safetensors'))
        for name, tensor in load_file(path).items()
    }


def test_from_images_to_a_pipeline(place, capfd, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'AVX512')
    assert train(place, '--amp', options=['images.captions=captions.json']) is None
    work = place / 'work'
    printed = ''.join(capfd.readouterr())
    assert 'broken.jpg' in printed and '1 of 7 images were skipped' in printed
    loaded = StableDiffusionPipeline.from_pretrained(str(work / 'pipeline'))
    picture = loaded('a photo of 3 cars', num_inference_steps=2, height=32, width=48).images[0]
    assert picture.size == (48, 32)
    assert loaded.scheduler.config.prediction_type == 'v_prediction'
    assert len(loaded.tokenizer('a photo of 3 cars')['input_ids']) == 7  # words, not letters
    assert LatentDiffusion.from_pretrained(str(work / 'pipeline')).stride == 16
    latents = load_file(work / 'latents.safetensors')
    assert latents['latents'].shape == (12, 4, 8, 12)  # six images and their mirror images
    std = latents['latents'].float().std((0, 2, 3))
    assert torch.allclose(std, torch.ones(4), atol=0.01)
    for stage in ('autoencoder', 'denoiser'):
        assert (work / stage / 'samples' / 'iter_4.png').is_file()
    start, end = weights(work / 'denoiser' / 'start'), weights(work / 'pipeline')
    changed = {part for (part, name) in end if not torch.equal(end[part, name], start[part, name])}
    assert changed == {'unet', 'text_encoder'}


def test_without_captions_the_text_encoder_stays(place):
    assert train(place) is None
    start = weights(place / 'work' / 'denoiser' / 'start')
    end = weights(place / 'work' / 'pipeline')
    assert all(torch.equal(end[key], start[key]) for key in end if key[0] != 'unet')


def stop_after(patch, stage, iteration):
    """Break off a stage after an iteration, as a kill between checkpoints would."""
    write = AtomicCheckpointHook.after_train_iter

    def after_train_iter(hook, runner, *args, **kwargs):
        write(hook, runner, *args, **kwargs)
        if runner.work_dir.endswith(stage) and runner.iter + 1 == iteration:
            raise InterruptedError

    patch.setattr(AtomicCheckpointHook, 'after_train_iter', after_train_iter)


@pytest.mark.slow
def test_resumed_training_equals_an_unbroken_one(place, monkeypatch):
    """Stopped once in each stage; nothing is encoded again."""
    assert train(place) is None
    unbroken = weights(place / 'work' / 'pipeline')
    (place / 'work').rename(place / 'unbroken')

    for stage, flags in (('autoencoder', ()), ('denoiser', ('--resume',))):
        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            stop_after(patch, stage, 3)
            train(place, *flags)
    calls = []
    encode = diffusion_training.encode_images
    monkeypatch.setattr(diffusion_training, 'encode_images', lambda *args: calls.append(args) or encode(*args))
    assert train(place, '--resume') is None
    resumed = weights(place / 'work' / 'pipeline')
    assert not calls
    # sums are rounded by where memory lies, and Adam makes a step of what is next to nothing; a lost step is 1e-3
    for key, tensor in unbroken.items():
        assert torch.allclose(resumed[key], tensor, atol=1e-5), key


def test_existing_pipeline_is_adapted_fully(place):
    pretrained = save_tiny_pipeline(place / 'tiny')
    assert train(place, options=[f'pretrained={pretrained}']) is None
    before, after = weights(pretrained), weights(place / 'work' / 'pipeline')
    assert all(torch.equal(before[key], after[key]) == (key[0] != 'unet') for key in before)
    latents = load_file(place / 'work' / 'latents.safetensors')['latents'].float()
    model = LatentDiffusion.from_pretrained(pretrained)
    from diff2in1_mm.datasets.image_folder import ImageFolder

    image = ImageFolder(str(place / 'photos'), (32, 48)).whole(0)
    expected = model.encode(image[None] / 127.5 - 1)[0]
    assert (latents[0] - expected).abs().max() < 2e-3 * expected.abs().max()
    assert not (place / 'work' / 'autoencoder').exists()


def test_existing_pipeline_is_trained_on_autoencoder_included(place):
    pretrained = save_tiny_pipeline(place / 'tiny')
    options = [f'pretrained={pretrained}', 'train_autoencoder=True']
    assert train(place, options=options) is None
    before, after = weights(pretrained), weights(place / 'work' / 'pipeline')
    assert before.keys() == after.keys()
    changed = {key[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {'vae', 'unet'}
    # the denoiser began from the pretrained one, not anew
    start = weights(place / 'work' / 'denoiser' / 'start')
    assert all(torch.equal(before[key], start[key]) for key in before if key[0] == 'unet')
    # its latents mean what they meant: the U-Net knows them
    trained, first = (
        AutoencoderKL.from_pretrained(folder, subfolder='vae') for folder in (place / 'work' / 'pipeline', pretrained)
    )
    assert trained.config.scaling_factor == first.config.scaling_factor
    images = torch.rand(2, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        after, before = (vae.encode(images).latent_dist.mean for vae in (trained, first))
    assert (after - before).std() < 0.1 * before.std()


def test_the_decoder_is_trained_alone(place):
    pretrained = save_tiny_pipeline(place / 'tiny')
    options = [
        f'pretrained={pretrained}',
        'train_autoencoder=True',
        'train_denoiser=False',
        'autoencoder.model.train_encoder=False',
        'autoencoder.model.latent_noise=0.4',
    ]
    assert train(place, options=options) is None
    before, after = weights(pretrained), weights(place / 'work' / 'pipeline')
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {(part, name.split('.')[0]) for part, name in changed} == {('vae', 'decoder'), ('vae', 'post_quant_conv')}
    assert not (place / 'work' / 'latents.safetensors').exists()


def test_latents_of_other_images_are_made_again(place):
    pretrained = save_tiny_pipeline(place / 'tiny')
    options = [f'pretrained={pretrained}']
    train(place, options=options)

    def made_of():
        with safe_open(place / 'work' / 'latents.safetensors', 'pt') as file:
            return file.metadata()['made_of']

    first = made_of()
    train(place, '--resume', options=options)
    assert made_of() == first
    photo = place / 'photos' / '0.png'
    content = photo.read_bytes()
    photo.write_bytes(content[:-1] + b'x')  # as a bitmap of the same size has as many bytes
    train(place, '--resume', options=options)
    second = made_of()
    assert second != first
    os.remove(photo)
    train(place, '--resume', options=options)
    assert made_of() != second


def test_a_new_start_leaves_nothing_of_the_one_before_to_resume(place, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        stop_after(patch, 'denoiser', 1)
        train(place)
    work = place / 'work'
    (work / 'denoiser' / 'last_checkpoint').touch()
    left = ('autoencoder/last_checkpoint', 'autoencoder/vae', 'denoiser/last_checkpoint', 'denoiser/start')
    assert all((work / name).exists() for name in left)
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        stop_after(patch, 'autoencoder', 1)  # before its first checkpoint
        train(place)
    assert not any((work / name).exists() for name in left)


def test_a_result_that_is_gone_is_written_again(place):
    options = [f'pretrained={save_tiny_pipeline(place / "tiny")}']
    assert train(place, options=options) is None
    before = weights(place / 'work' / 'pipeline')
    shutil.rmtree(place / 'work' / 'pipeline')
    assert train(place, '--resume', options=options) is None
    after = weights(place / 'work' / 'pipeline')
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_images_encoded_as_training_goes(place):
    assert train(place, options=['keep_latents=False']) is None
    assert not (place / 'work' / 'latents.safetensors').exists()
    assert (place / 'work' / 'pipeline' / 'model_index.json').is_file()


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob('*') if path.is_file() and path.suffix != '.log'}


def test_a_finished_model_is_not_replaced(place, logged, capfd):
    pretrained = save_tiny_pipeline(place / 'tiny')
    options = [f'pretrained={pretrained}']
    assert train(place, '--resume', options=options) is None
    assert f'nothing to resume in {place / "work"}: starting anew' in ''.join([*logged, *capfd.readouterr()])
    logged.clear()
    capfd.readouterr()
    before = files(place / 'work')
    error = train(place, options=options)
    assert 'holds a trained model (pipeline)' in error and '--resume' in error
    assert files(place / 'work') == before
    assert train(place, '--resume', options=options) is None
    told = ''.join([*logged, *capfd.readouterr()])  # by which logger depends on what ran before
    assert 'All is done already' in told and 'nothing to resume' not in told
    assert files(place / 'work') == before
    # more of it
    assert train(place, '--resume', options=[*options, 'denoiser.train_cfg.max_iters=6']) is None
    assert (place / 'work' / 'denoiser' / 'iter_6.pth').is_file()


@pytest.mark.slow
def test_two_processes(place):
    run_in_two_processes(
        [TOOL, place / 'config.py', '--work-dir', place / 'work', '--cfg-options', f'data_root={place}'], place
    )
    assert (place / 'work' / 'pipeline' / 'model_index.json').is_file()


@pytest.mark.parametrize('encoded', ['new autoencoder', 'pretrained autoencoder'])
def test_encoding_may_outlast_the_timeout_of_a_barrier(place, monkeypatch, encoded):
    """Threads that take each other for processes; a collective gives up after 0.3 s."""
    here, collective, ends = threading.local(), threading.Barrier(2), {}
    for module in (creation_stage, diffusion_training):
        monkeypatch.setattr(module, 'barrier', lambda: collective.wait(0.3), raising=False)
    monkeypatch.setattr(creation_stage, 'get_dist_info', lambda: (here.rank, 2))
    monkeypatch.setattr(creation_stage, 'broadcast_object_list', lambda token: token.__setitem__(0, 'token'))
    store = torch.distributed.HashStore()
    monkeypatch.setattr(creation_stage, 'default_store', lambda: store)
    monkeypatch.setattr(creation_stage, '_LOOK_SECONDS', 0.01)
    monkeypatch.setattr(diffusion_training, 'is_main_process', lambda: here.rank == 0)
    encode = diffusion_training.encode_images
    monkeypatch.setattr(diffusion_training, 'encode_images', lambda *args: (time.sleep(1), encode(*args))[1])
    vae = tiny_pipeline().vae
    monkeypatch.setattr(diffusion_training, 'averaged_model', lambda _: SimpleNamespace(vae=vae))

    cfg = Config.fromfile(place / 'config.py')
    cfg.merge_from_dict(dict(data_root=str(place), work_dir=str(place / 'work')))
    if encoded == 'pretrained autoencoder':
        cfg.pretrained = save_tiny_pipeline(place / 'tiny')
    training = diffusion_training.DiffusionTraining(cfg)
    training._runner = lambda *_: SimpleNamespace(train=lambda: None)

    def run(rank):
        here.rank = rank
        if encoded == 'new autoencoder':
            training.train_autoencoder()
        else:
            training.start_pipeline()
        ends[rank] = Path(training.latents_file).is_file()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ends == {0: True, 1: True}


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(TOOL)['main'](['--help'])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and 'examples:' in text and 'data_root=' in text
