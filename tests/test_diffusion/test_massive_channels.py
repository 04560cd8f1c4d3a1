"""Channels that drown all others are found and left out."""

from contextlib import nullcontext

import pytest
import torch

from diff2in1_mm.diffusion import massive_channels as massive
from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.diffusion.massive_channels import massive_channels
from diff2in1_mm.models.backbones.diffusion_backbone import DiffusionBackbone

from ..family_models import save
from ..small_models import assert_same

BLOCKS = ['transformer_blocks.0', 'transformer_blocks.1']
DROWNING = [3, 7]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """SD 3 whose first block adds a large constant to two channels; later blocks hand them on."""
    folder = save('sd3', tmp_path_factory.mktemp('sd3'))
    model = load_diffusion(folder)
    with torch.no_grad():
        model.transformer.pos_embed.proj.bias[DROWNING] += 500
    model.transformer.save_pretrained(f'{folder}/transformer')
    return folder


def test_they_are_found_on_pictures_of_any_size(folder):
    model = load_diffusion(folder)
    taps, told = [tap for tap in model.taps() if tap.name in BLOCKS], model.text.embed([''])
    for size in ((64, 64), (32, 48)):
        found = massive_channels(model, taps, size, 100, told, 20)
        places = {name: mask.nonzero().flatten().tolist() for name, mask in found.items()}
        assert places == dict.fromkeys(BLOCKS, DROWNING)
    assert not any(mask.any() for mask in massive_channels(model, taps, size, 100, told, 1e6).values())


@pytest.mark.parametrize('join', ['concat', 'mean'])
def test_they_are_zero_in_features_and_all_else_is_as_before(folder, join):
    options = dict(diffusion=folder, taps=BLOCKS, timestep=[50, 150], join_levels=join)
    plain, without = DiffusionBackbone(**options).eval(), DiffusionBackbone(massive_above=20, **options).eval()
    images = torch.rand(2, 3, 30, 40) * 2 - 1
    (whole,), (left,) = plain(images), without(images)
    width = plain.diffusion.width
    drowning = torch.zeros(whole.shape[1], dtype=torch.bool)
    for start in range(0, whole.shape[1], width):
        drowning[[start + channel for channel in DROWNING]] = True
    assert whole[:, drowning].abs().min() > 50 and not left[:, drowning].any()
    assert_same(left[:, ~drowning], whole[:, ~drowning], 0)


def test_other_weights_in_a_checkpoint_have_their_own(folder, tmp_path):
    options, images = dict(taps=BLOCKS, massive_above=20), torch.rand(1, 3, 16, 16) * 2 - 1
    other = DiffusionBackbone(save('sd3', tmp_path), save_frozen=True, **options).eval()
    backbone = DiffusionBackbone(folder, **options).eval()
    assert not backbone(images)[0][:, DROWNING].any()
    backbone.load_state_dict(other.state_dict())
    assert_same(backbone(images)[0], other(images)[0])
    assert backbone(images)[0][:, DROWNING].any()


def test_they_are_sought_where_the_images_are(folder, monkeypatch):
    """The pretrained denoiser, which waits on the CPU beside one that is trained, comes for that; 'meta' is a GPU."""
    pytest.importorskip('peft')
    backbone, moves = DiffusionBackbone(folder, taps=BLOCKS, massive_above=20, train='full').to('meta'), []
    assert backbone.diffusion.device.type == 'cpu'
    monkeypatch.setattr(massive, 'brought_to', lambda *to: moves.append(to) or nullcontext())
    monkeypatch.setattr(massive, '_pictures', lambda size: moves.append(size) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        massive.massive_channels(backbone.diffusion, [], (16, 16), 100, backbone.told, 20)
    assert moves == [(torch.device('meta'), backbone.diffusion), (16, 16)]


def test_a_bound_that_would_leave_out_most_is_refused(folder):
    with pytest.raises(ValueError, match='massive_above = 1 leaves out channels'):
        DiffusionBackbone(folder, massive_above=1)
