"""The trainer of the autoencoder."""

import pytest
import torch
from diffusers import AutoencoderKL
from mmengine.logging import MessageHub
from mmengine.registry import MODELS

from diff2in1_mm.pretraining.autoencoder_trainer import (
    AutoencoderTrainer,
    anchor_error,
    channel_correlation,
    enlarge_color,
    whiten,
)

from .small_parts import AUTOENCODER, photos


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
