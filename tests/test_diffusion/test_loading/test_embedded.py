"""The diffusion model that comes with the package."""

import json
import shutil
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch

from diff2in1_mm.diffusion.families import check_source, load_diffusion
from diff2in1_mm.diffusion.loading import embedded
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.pretraining import embed as embed_module
from diff2in1_mm.pretraining.embed import embed, last_grid
from diff2in1_mm.pretraining.pipeline_files import load_pipeline

from ...small_models import save_tiny_pipeline


@pytest.fixture
def folder(tmp_path, pipeline_folder, monkeypatch):
    """An embedded model of the tiny pipeline."""
    target = tmp_path / 'rooms'
    embed(pipeline_folder, target)
    monkeypatch.setattr(embedded, 'FOLDER', target)
    return target


def test_it_answers_to_its_name(folder, pipeline_folder):
    model = LatentDiffusion.from_pretrained('diff2in1_mm/rooms')
    other = LatentDiffusion.from_pretrained(pipeline_folder)
    assert model.source == 'diff2in1_mm/rooms'  # no path of this machine in configs and records
    assert model.unet.config.block_out_channels == other.unet.config.block_out_channels
    assert embedded.locate('some/hub-id') == 'some/hub-id'
    assert not any(pipeline_folder in path.read_text() for path in folder.rglob('*.json'))


@pytest.mark.parametrize('name', ['diff2in1_mm/room', 'diff2in1_mm/rooms/unet'])
def test_a_name_that_is_none_asks_no_hub(name, monkeypatch):
    monkeypatch.setattr('huggingface_hub.hf_hub_download', Mock(side_effect=AssertionError('asked')))
    for look in (load_diffusion, check_source):
        with pytest.raises(ValueError, match=f"no diffusion model '{name}': the one .* is 'diff2in1_mm/rooms'"):
            look(name)


def test_damage_is_named_with_the_mend(folder):
    weights = folder / 'unet' / 'diffusion_pytorch_model.safetensors'
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r'unet.*is damaged: restore it in a checkout'):
        LatentDiffusion.from_pretrained('diff2in1_mm/rooms')
    weights.unlink()
    with pytest.raises(ValueError, match='is missing.*git checkout.*make rooms-model'):
        LatentDiffusion.from_pretrained('diff2in1_mm/rooms')
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match='checksums.json is missing'):
        LatentDiffusion.from_pretrained('diff2in1_mm/rooms')


def test_a_new_one_keeps_the_card(folder, pipeline_folder):
    (folder / 'README.md').write_text('model card')
    embed(pipeline_folder, folder)
    assert (folder / 'README.md').read_text() == 'model card'
    LatentDiffusion.from_pretrained('diff2in1_mm/rooms')  # the card is not under the checksums


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def with_pictures(tmp_path):
    """Work dir of a denoiser that has drawn one grid."""
    samples = tmp_path / 'work' / 'denoiser' / 'samples'
    samples.mkdir(parents=True)
    cv2.imwrite(str(samples / 'iter_10.png'), np.full((8, 8, 3), 90, np.uint8))
    return str(tmp_path / 'work')


@pytest.mark.parametrize('last', ['checksum', '_forget_place', '_plot_losses'])
def test_one_that_is_stopped_on_the_way_leaves_the_old_one_whole(folder, tmp_path, monkeypatch, last):
    (folder / 'README.md').write_text('model card')
    before = contents(folder)
    with monkeypatch.context() as patch:
        patch.setattr(embed_module, last, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed(save_tiny_pipeline(tmp_path / 'other', seed=1), folder, [with_pictures(tmp_path)])
    assert contents(folder) == before
    LatentDiffusion.from_pretrained('diff2in1_mm/rooms')


def test_weights_checksums_and_pictures_come_together(folder, pipeline_folder, tmp_path):
    (folder / 'README.md').write_text('model card')
    (folder / 'samples.jpg').write_bytes(b'of the old one')
    embed(pipeline_folder, folder, [with_pictures(tmp_path)])
    assert cv2.imread(str(folder / 'samples.jpg')).shape == (8, 8, 3)
    assert cv2.imread(str(folder / 'losses.jpg')) is not None
    assert (folder / 'README.md').read_text() == 'model card'
    assert 'unet/config.json' in json.loads((folder / 'checksums.json').read_text())
    assert [path.name for path in tmp_path.glob('.rooms*')] == []


def test_the_card_of_one_that_a_kill_left_aside_is_kept(folder, pipeline_folder):
    """Killed between the two renames of `replace_folder`."""
    (folder / 'README.md').write_text('model card')
    aside = folder.parent / '.rooms.old-x'
    aside.mkdir()
    folder.rename(aside / 'rooms')
    embed(pipeline_folder, folder)
    assert (folder / 'README.md').read_text() == 'model card'


def test_the_cards_pictures_are_of_the_run_that_drew_them(tmp_path):
    with pytest.raises(FileNotFoundError, match='name the work dir in which the denoiser'):
        last_grid([str(tmp_path)])
    samples = tmp_path / 'denoiser' / 'samples'
    samples.mkdir(parents=True)
    for number in (800, 1000, 90):
        (samples / f'iter_{number}.png').touch()
    assert last_grid([str(tmp_path / 'decoder'), str(tmp_path)]).name == 'iter_1000.png'


def test_loss_curves_of_all_runs(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    for run, stage, name in (
        ('one', 'autoencoder', 'loss_value'),
        ('one', 'denoiser', 'loss_denoising'),
        ('two', 'denoiser', 'loss_denoising'),
    ):
        log = tmp_path / run / stage / '20261126' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text(json.dumps({name: 0.3, 'iter': 50}) + '\n')
    told = []
    monkeypatch.setattr(Axes, 'set', lambda self, **options: told.append(options))
    embed_module._plot_losses([str(tmp_path / 'two'), str(tmp_path / 'one')], tmp_path / 'x.jpg')
    assert [options['title'] for options in told] == ['autoencoder (one)', 'denoiser (one)', 'denoiser (two)']
    assert [options['ylabel'].split('\n')[0] for options in told] == [
        'mean absolute error',
        *['mean squared error'] * 2,
    ]
    assert cv2.imread(str(tmp_path / 'x.jpg')) is not None


def test_what_is_shipped():
    """Whole, small enough, and a model of 128x128 rooms."""
    if not embedded.FOLDER.is_dir():
        pytest.fail('the package comes without its diffusion model')
    size = sum(path.stat().st_size for path in embedded.FOLDER.rglob('*.safetensors'))
    assert size < 25e6
    model = LatentDiffusion.from_pretrained('diff2in1_mm/rooms')
    assert model.latent_stride == 4 and 128 % model.stride == 0
    captions = ['a room with a wooden floor and blue walls, a red ball beside a blue cupboard', '']
    assert model.text.sequences(captions).shape[0] == 2


def test_captions_change_the_shipped_models_pictures():
    """The same noise, other words: walls take the colour, and a red ball brings red."""
    pipeline = load_pipeline(str(embedded.FOLDER))
    pipeline.set_progress_bar_config(disable=True)

    def drawn(caption):
        """Pictures (4, 128, 128, 3) in [0, 1], always from the same noise."""
        generators = [torch.Generator().manual_seed(i) for i in range(4)]
        return pipeline(
            [caption] * 4,
            num_inference_steps=10,
            generator=generators,
            guidance_scale=3.0,
            height=128,
            width=128,
            output_type='np',
        ).images

    blue = 'a room with a wooden floor and blue walls'
    room, ball, orange = map(
        drawn, (blue, f'{blue}, a red ball beside a blue cupboard', blue.replace('blue', 'orange'))
    )

    def warmth(pictures):
        """Red minus blue in the upper part, where the walls are."""
        return float(np.mean(pictures[:, :48, :, 0] - pictures[:, :48, :, 2]))

    def reds(pictures):
        """Share of clearly red pixels."""
        return float(np.mean((pictures[..., 0] > 0.4) & (pictures[..., 1:].max(-1) < 0.5 * pictures[..., 0])))

    assert warmth(orange) > warmth(room) + 0.2
    assert reds(ball) > reds(room) + 0.003
