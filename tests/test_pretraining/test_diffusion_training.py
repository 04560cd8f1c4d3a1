"""Trainers of the latent diffusion model, and its files."""

import math
import os

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline
from mmengine.logging import MessageHub
from mmengine.registry import MODELS

from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.pretraining import denoiser_trainer
from diff2in1_mm.pretraining.autoencoder_trainer import (
    AutoencoderTrainer,
    anchor_error,
    channel_correlation,
    enlarge_color,
    whiten,
)
from diff2in1_mm.pretraining.denoiser_trainer import DenoiserTrainer
from diff2in1_mm.pretraining.pipeline_files import (
    load_pipeline,
    new_pipeline,
    read_configs,
    replace_folder,
    save_pipeline,
)

AUTOENCODER = dict(
    block_out_channels=(8, 8, 16),
    down_block_types=('DownEncoderBlock2D',) * 3,
    up_block_types=('UpDecoderBlock2D',) * 3,
    layers_per_block=1,
    latent_channels=4,
    norm_num_groups=4,
    mid_block_add_attention=False,
)
UNET = dict(
    sample_size=8,
    block_out_channels=(16, 24, 32),
    layers_per_block=1,
    norm_num_groups=4,
    down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
    up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'),
    attention_head_dim=2,
)
TEXT_ENCODER = dict(
    hidden_size=16,
    intermediate_size=32,
    projection_dim=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=16,
)
SCHEDULER = dict(
    beta_schedule='scaled_linear',
    beta_start=0.00085,
    beta_end=0.012,
    prediction_type='v_prediction',
    clip_sample=False,
    set_alpha_to_one=False,
    steps_offset=1,
)
CAPTIONS = ['a photo of a street with cars and trees', 'two pedestrians, 3 bicyclists']


@pytest.fixture
def start(tmp_path):
    """A new pipeline in a folder."""
    torch.manual_seed(0)
    pipe = new_pipeline(AutoencoderKL(**AUTOENCODER), UNET, TEXT_ENCODER, SCHEDULER, CAPTIONS)
    save_pipeline(pipe, str(tmp_path / 'start'))
    return str(tmp_path / 'start')


def photos(count=2, size=(32, 48)):
    """Smooth coloured uint8 pictures."""
    torch.manual_seed(1)
    small = torch.randint(0, 256, (count, 3, 4, 6)).float()
    return torch.nn.functional.interpolate(small, size=size, mode='bilinear').byte()


# ---- autoencoder ----


def test_autoencoder_learns_to_reconstruct():
    torch.manual_seed(0)
    trainer = MODELS.build(dict(type='AutoencoderTrainer', autoencoder=AUTOENCODER))
    optimizer = torch.optim.Adam(trainer.parameters(), 3e-3)
    quality = []
    for _ in range(40):
        losses = trainer(photos(), mode='loss')
        total, log = trainer.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        quality.append(log['psnr'].item())
    assert quality[-1] > quality[0] + 5
    rows = trainer.sample_rows(photos(), seed=0)
    assert rows['original'].shape == rows['reconstruction'].shape == (2, 3, 32, 48)
    assert rows['reconstruction'].abs().max() <= 1


def test_psnr_is_of_images_in_unit_range(monkeypatch):
    trainer = AutoencoderTrainer(AUTOENCODER)
    monkeypatch.setattr(
        trainer.vae, 'decode', lambda z: type('Output', (), dict(sample=torch.full((2, 3, 32, 48), 0.2)))
    )
    grey = torch.full((2, 3, 32, 48), 0.0)
    assert abs(trainer.loss(grey)['psnr'].item() - 20) < 1e-4  # off by 0.1 of the range


def test_latents_get_noise_of_each_images_own_strength():
    trainer = AutoencoderTrainer(AUTOENCODER, latent_noise=0.5)
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 2.0, 5.0, 0.1])[:, None, None]
    latents = torch.randn(64, 4, 32, 32, generator=generator) * scale
    share = trainer._noise(latents, generator).std(dim=(2, 3)) / scale.flatten()
    assert share.max() < 0.55 and share.min() < 0.05 and abs(share.mean() - 0.25) < 0.05
    assert (share.std(dim=1) < 0.02).all()  # one strength for all channels of an image


def test_the_decoder_alone_where_there_is_no_quant_conv():
    options = dict(AUTOENCODER, use_quant_conv=False, use_post_quant_conv=False)
    trainer = AutoencoderTrainer(options, train_encoder=False)
    assert not any(p.requires_grad for p in trainer.vae.encoder.parameters())
    assert all(p.requires_grad for p in trainer.vae.decoder.parameters())


def test_squared_errors_can_be_weighed():
    images = torch.rand(2, 3, 32, 48) * 2 - 1
    terms = [AutoencoderTrainer(AUTOENCODER, square_weight=w).loss(images) for w in (0.0, 3.0)]
    assert terms[0]['loss_square'] == 0
    mse = 4 * 10 ** (-terms[1]['psnr'] / 10)
    torch.testing.assert_close(terms[1]['loss_square'], 3 * mse)


def test_noise_depends_on_seed_and_iteration_only():
    torch.manual_seed(0)
    trainer = AutoencoderTrainer(AUTOENCODER)
    hub = MessageHub.get_current_instance()

    def loss(iteration):
        hub.update_info('iter', iteration)
        torch.manual_seed(iteration + 5)
        return trainer(photos(), mode='loss')['loss_value'].item()

    first, other, again = loss(3), loss(4), loss(3)
    assert first == again != other


def test_latents_of_a_pretrained_autoencoder_are_left_as_they_are(start):
    """Its U-Net knows them; anchors, correlation and KL are for autoencoders that begin anew."""
    names = ('loss_anchor', 'loss_correlation', 'loss_kl')
    new, old = (AutoencoderTrainer(model)(photos(), mode='loss') for model in (AUTOENCODER, start))
    assert all(new[name] > 0 for name in names) and not any(old[name] for name in names)
    told = AutoencoderTrainer(start, kl_weight=1e-3)(photos(), mode='loss')
    assert told['loss_kl'] > 0 and not told['loss_anchor']


def test_correlation_of_channels():
    torch.manual_seed(0)
    noise = torch.randn(2, 3, 20, 20)
    assert channel_correlation(noise) < 0.02
    same = noise[:, :1].expand(-1, 3, -1, -1) * torch.tensor([1.0, -3, 0.1]).view(3, 1, 1) + 7
    assert abs(channel_correlation(same).item() - 1) < 1e-5


def test_first_latents_are_drawn_to_brightness_and_color():
    images = torch.zeros(1, 3, 8, 8)
    images[..., 4:] = torch.tensor([0.53, 0.5, 0.47]).view(3, 1, 1)  # a little red on the right
    target = torch.zeros(1, 5, 2, 2)
    target[:, :3, :, 1] = torch.tensor([1.0, 0.5, -0.5]).view(3, 1)
    assert anchor_error(target, images) < 1e-6
    assert anchor_error(torch.zeros(1, 5, 2, 2), images) > 0.1


def test_first_convolution_sees_color_enlarged():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 4, 1, bias=False)
    grey, red = torch.ones(1, 3, 2, 2), torch.tensor([2.0, -1, -1]).view(1, 3, 1, 1)
    before = conv(grey).detach(), conv(red).detach()
    enlarge_color(conv, 8)
    assert torch.allclose(conv(grey), before[0], atol=1e-6)
    assert torch.allclose(conv(red), 8 * before[1], atol=1e-5)


def test_batches_are_cropped_until_an_iteration(monkeypatch):
    trainer = AutoencoderTrainer(AUTOENCODER, crop=(16, 8), crop_iters=5)
    shapes, encode = [], trainer.vae.encode
    monkeypatch.setattr(trainer.vae, 'encode', lambda x: shapes.append(tuple(x.shape)) or encode(x))
    for iteration in (4, 5):
        MessageHub.get_current_instance().update_info('iter', iteration)
        trainer(photos(), mode='loss')
    assert shapes == [(2, 3, 16, 8), (2, 3, 32, 48)]


def test_whitening_is_exact():
    torch.manual_seed(0)
    vae = AutoencoderKL(**AUTOENCODER, scaling_factor=0.3).eval()
    images = photos(6).float() / 127.5 - 1
    with torch.no_grad():
        before = vae.encode(images).latent_dist
        decoded = vae.decode(before.mean).sample
        mean, std = before.mean.mean((0, 2, 3)), before.mean.std((0, 2, 3))
        whiten(vae, mean, std)
        after = vae.encode(images).latent_dist
        assert torch.allclose(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
        assert torch.allclose(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-4)
        assert torch.allclose(after.std * std[:, None, None], before.std, rtol=1e-4)
        assert torch.allclose(vae.decode(after.mean).sample, decoded, atol=1e-4)
    assert vae.config.scaling_factor == 1.0


def test_whitening_needs_the_outer_convolutions():
    vae = AutoencoderKL(**AUTOENCODER, use_quant_conv=False)
    with pytest.raises(ValueError, match='use_quant_conv'):
        whiten(vae, torch.zeros(4), torch.ones(4))


# ---- denoiser ----


@pytest.mark.parametrize('prediction', ['epsilon', 'v_prediction'])
def test_perfect_prediction_has_no_loss(start, monkeypatch, prediction):
    trainer = DenoiserTrainer(start)
    schedule = DDPMScheduler.from_config(trainer.noise_schedule.config, prediction_type=prediction)
    trainer.noise_schedule = schedule
    latents = torch.randn(3, 4, 8, 8)
    seen = {}

    def add_noise(x, noise, t):
        seen.update(noise=noise, t=t)
        return DDPMScheduler.add_noise(schedule, x, noise, t)

    def unet(noised, t, embeddings):
        abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = (noised - abar.sqrt() * latents) / (1 - abar).sqrt()
        v = abar.sqrt() * noise - (1 - abar).sqrt() * latents
        return type('Output', (), dict(sample=noise if prediction == 'epsilon' else v))

    monkeypatch.setattr(schedule, 'add_noise', add_noise)
    monkeypatch.setattr(trainer.unet, 'forward', unet)
    assert trainer(latents=latents, mode='loss')['loss_denoising'] < 1e-6


def test_losses_of_the_two_halves_of_the_schedule():
    error = torch.tensor([1.0, 2.0, 6.0])
    losses = DenoiserTrainer._losses(error, torch.tensor([True, False, False]))
    assert losses == dict(loss_denoising=3.0, low_noise=1.0, high_noise=4.0)
    assert list(DenoiserTrainer._losses(error, torch.ones(3, dtype=torch.bool))) == ['loss_denoising']


def test_timesteps_cover_the_schedule_evenly(start):
    steps = DenoiserTrainer(start)._timesteps(10, torch.Generator().manual_seed(0))
    assert [int(t) // 100 for t in steps] == list(range(10))


def test_only_trained_parts_are_in_the_state(start):
    frozen = DenoiserTrainer(start)
    assert all(key.startswith('unet.') for key in frozen.state_dict())
    joint = DenoiserTrainer(start, train_text_encoder=True)
    assert {key.split('.')[0] for key in joint.state_dict()} == {'unet', 'text_encoder'}
    joint(latents=torch.randn(2, 4, 8, 8), caption=CAPTIONS)['loss_denoising'].backward()
    assert all(p.grad is not None for p in joint.parameters())


def test_latent_crops_until_an_iteration(start, monkeypatch):
    trainer = DenoiserTrainer(start, latent_crop=(4, 8), latent_crop_iters=5, crop_batch_repeat=2)
    shapes = []
    monkeypatch.setattr(
        trainer.unet,
        'forward',
        lambda x, t, e: shapes.append((x.shape, e.shape[0])) or type('Output', (), dict(sample=x)),
    )
    for iteration in (4, 5):
        MessageHub.get_current_instance().update_info('iter', iteration)
        trainer(latents=torch.randn(3, 4, 8, 12), caption=['a', 'b', 'c'])
    assert shapes == [((6, 4, 4, 8), 6), ((3, 4, 8, 12), 3)]


def test_kept_texts_have_a_bound(start, monkeypatch):
    monkeypatch.setattr(denoiser_trainer, '_KEPT_EMBEDDINGS', 2)
    trainer = DenoiserTrainer(start)
    first = trainer.embed(['a', 'b', 'c'])
    assert len(trainer.frozen.embeddings) == 2
    torch.testing.assert_close(trainer.embed(['c', 'a']), first[[2, 0]])


def test_captions_are_dropped_at_the_given_rate(start, monkeypatch):
    trainer = DenoiserTrainer(start, caption_dropout=0.5)
    seen = []
    monkeypatch.setattr(trainer, 'embed', lambda texts: seen.extend(texts) or torch.zeros(len(texts), 16, 16))
    trainer(latents=torch.randn(64, 4, 8, 8), caption=['a car'] * 64)
    assert set(seen) == {'', 'a car'} and 15 < seen.count('') < 49


def test_both_kinds_of_attention_train_alike(start):
    gradients = []
    for fused in (True, False):
        trainer = DenoiserTrainer(start, fused_attention=fused)
        kinds = {type(p).__name__ for p in trainer.unet.attn_processors.values()}
        assert kinds == {'AttnProcessor2_0' if fused else 'AttnProcessor'}
        latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        trainer(latents=latents, caption=CAPTIONS)['loss_denoising'].backward()
        gradients.append([p.grad for p in trainer.unet.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_texts_are_tokenized_once(start, monkeypatch):
    trainer = DenoiserTrainer(start, train_text_encoder=True, caption_dropout=0.0)
    read, tokenizer = [], trainer.frozen.tokenizer
    monkeypatch.setattr(
        trainer.frozen, 'tokenizer', lambda texts, **options: read.extend(texts) or tokenizer(texts, **options)
    )
    first = trainer.embed([*CAPTIONS, CAPTIONS[0]])
    torch.testing.assert_close(trainer.embed(CAPTIONS[::-1]), first[[1, 2]])
    assert read == CAPTIONS


def test_images_instead_of_latents(start):
    trainer = DenoiserTrainer(start)
    loss = trainer(inputs=photos())
    same = trainer(latents=trainer.encode(photos().float() / 127.5 - 1))
    assert torch.allclose(loss['loss_denoising'], same['loss_denoising'])


def test_sample_rows_and_saved_pipeline(start, tmp_path):
    trainer = DenoiserTrainer(start, sample_strengths=(100,), sample_steps=3).eval()
    rows = trainer.sample_rows(photos(), seed=0)
    assert list(rows) == ['original', 'decoded', 'T = 100', 'pure noise']
    assert all(row.shape == (2, 3, 32, 48) for row in rows.values())
    again = trainer.sample_rows(photos(), seed=0)
    assert torch.equal(rows['pure noise'], again['pure noise'])
    out = str(tmp_path / 'out')
    trainer.save_pipeline(out, 'fp16')
    assert next(trainer.unet.parameters()).dtype == torch.float32  # training goes on unharmed
    loaded = StableDiffusionPipeline.from_pretrained(out, dtype=torch.float32)
    assert loaded('a street', num_inference_steps=2, height=32, width=48, output_type='np').images.shape == (
        1,
        32,
        48,
        3,
    )
    assert LatentDiffusion.from_pretrained(out).stride == 16


def test_unknown_prediction_is_refused(start):
    path = os.path.join(start, 'scheduler', 'scheduler_config.json')
    with open(path, encoding='utf-8') as file:
        text = file.read()
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text.replace('v_prediction', 'sample'))
    with pytest.raises(ValueError, match='only epsilon and v_prediction'):
        DenoiserTrainer(start)


# ---- files ----


def test_new_pipeline_fits_together(start):
    pipe = load_pipeline(start)
    vae, unet = read_configs(start)
    assert vae['latent_channels'] == unet['in_channels'] == 4
    assert unet['cross_attention_dim'] == 16
    config = pipe.text_encoder.config
    assert config.vocab_size == len(pipe.tokenizer)
    assert config.eos_token_id == pipe.tokenizer.eos_token_id
    assert pipe.scheduler.config.prediction_type == 'v_prediction'
    embedding = pipe.text_encoder(torch.tensor([pipe.tokenizer('a car')['input_ids']]))[0]
    assert math.isfinite(embedding.sum().item())


@pytest.mark.parametrize('make', [lambda p: None, lambda p: p.mkdir()])
def test_what_is_no_pipeline_is_said_in_one_sentence(tmp_path, make):
    make(tmp_path / 'x')
    for load in (load_pipeline, read_configs):
        with pytest.raises(ValueError, match='is not a diffusers pipeline that can be loaded') as e:
            load(str(tmp_path / 'x'))
        assert '\n' not in str(e.value)


def test_folder_is_replaced_wholly_or_not_at_all(tmp_path):
    folder = tmp_path / 'out'

    def write(text, fail=False):

        def fill(path):
            with open(os.path.join(path, text), 'w', encoding='utf-8') as file:
                file.write(text)
            if fail:
                raise OSError('disk full')

        return fill

    replace_folder(str(folder), write('a'))
    replace_folder(str(folder), write('b'))
    assert os.listdir(folder) == ['b'] and os.listdir(tmp_path) == ['out']
    with pytest.raises(OSError, match='disk full'):
        replace_folder(str(folder), write('c', fail=True))
    assert os.listdir(folder) == ['b'] and os.listdir(tmp_path) == ['out']


def test_leftovers_of_a_killed_process(tmp_path):
    """Killed between the two renames: the last whole folder comes back, half ones go."""
    old = tmp_path / '.out.old-x' / 'out'
    old.mkdir(parents=True)
    (old / 'whole').touch()
    (tmp_path / '.out.new-y').mkdir()

    def fail(path):
        assert os.listdir(tmp_path / 'out') == ['whole']
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        replace_folder(str(tmp_path / 'out'), fail)
    assert os.listdir(tmp_path) == ['out'] and os.listdir(tmp_path / 'out') == ['whole']
