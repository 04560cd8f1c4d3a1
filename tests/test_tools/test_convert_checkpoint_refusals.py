"""What tools/convert_checkpoint.py says of files that it cannot convert."""

import re

import pytest
import torch
from safetensors.torch import save_file

import diff2in1_mm  # noqa: F401

from .. import published
from ..original_layout import original_state, small_sd

pytest.importorskip('mmseg')

from .test_convert_checkpoint import built, convert, normal_parts, refusal  # noqa: E402


def test_bad_input_is_told_in_one_sentence(small, tmp_path, capsys):
    out = ('--out', tmp_path / 'out')
    save_file({'layer.weight': torch.zeros(2)}, tmp_path / 'unknown.safetensors')
    text = refusal(capsys, tmp_path / 'unknown.safetensors', *out)
    assert "keys begin with 'layer'" in text and 'known are the aggregator' in text
    save_file({'backbone.frozen_fingerprint': torch.zeros(2)}, tmp_path / 'ours.safetensors')
    assert 'diff2in1_mm already' in refusal(capsys, tmp_path / 'ours.safetensors', *out)
    torch.save({'state_dict': {}, 'callback': pytest.Config}, tmp_path / 'lightning.ckpt')
    text = refusal(capsys, tmp_path / 'lightning.ckpt', *out)
    assert 'as files written by Lightning do' in text and 'weights_only=False' in text
    torch.save(dict(epoch=3), tmp_path / 'empty.pth')
    assert 'holds no weights by name' in refusal(capsys, tmp_path / 'empty.pth', *out)
    assert "there is no file 'nowhere.pth'" in refusal(capsys, 'nowhere.pth', *out)

    head = built(dict(type='VPDDepthHead', **published.DEPTH_HEAD), 3)
    state = published.vpd_depth(*small, head.state_dict())
    cases = {
        'encoder.out_layer.0.weight': 'depth head takes maps of',
        'decoder.deconv_layers.0.weight': 'transposed convolutions of [(2, 2), (3, 3)]',
        'encoder.unet.unet.diffusion_model.time_embed.0.weight': 'smaller models',
        'encoder.gamma': 'do not fit class embeddings',
    }
    shapes = [(128, 7, 1, 1), (128, 16, 3, 3), (8, 8), (7,)]
    for (name, words), shape in zip(cases.items(), shapes):
        torch.save({**state, name: torch.zeros(shape)}, tmp_path / 'wrong.pth')
        assert words in refusal(capsys, tmp_path / 'wrong.pth', *out), name
    for name in (
        'last_layer_depth.0.weight',
        'encoder.gamma',
        'encoder.encoder_vq.encoder.conv_out.weight',
        'encoder.unet.unet.diffusion_model.middle_block.0.in_layers.0.weight',
    ):
        torch.save({key: value for key, value in state.items() if key != name}, tmp_path / 'wrong.pth')
        text = refusal(capsys, tmp_path / 'wrong.pth', *out)
        assert text.endswith('again'), name
    assert not (tmp_path / 'out').exists()
    assert not list(tmp_path.glob('.out*'))  # nothing half done


@pytest.mark.parametrize(
    'key, words',
    [
        ('double_blocks.0.img_attn.qkv.weight', 'is a single file of a transformer .*: give the diffusers folder'),
        ('transformer_blocks.0.attn.to_q.lora_A.weight', 'is or holds a LoRA'),
        ('encoder.down_blocks.0.resnets.0.conv1.weight', 'is one part of a diffusers folder'),
        ('conditioner.embedders.0.x', 'is a single file of SDXL, of which only folders are read'),
    ],
)
def test_models_of_other_families_are_named(tmp_path, capsys, key, words):
    save_file({key: torch.zeros(2)}, tmp_path / 'model.safetensors')
    assert re.search(words, refusal(capsys, tmp_path / 'model.safetensors', '--out', tmp_path / 'out'))


def test_what_needs_no_conversion_or_has_none_is_told(folder, tmp_path, capsys):
    out = ('--out', tmp_path / 'out')
    assert 'a folder of diffusers is the `diffusion` of a config as it is' in refusal(capsys, folder, *out)
    (tmp_path / 'model.gguf').write_bytes(b'GGUF')
    assert 'holds quantised weights (GGUF)' in refusal(capsys, tmp_path / 'model.gguf', *out)


def test_two_checkpoints_at_once_are_refused(small, tmp_path, capsys):
    save_file(original_state(*small_sd()), tmp_path / 'sd.safetensors')
    head = built(dict(type='VPDDepthHead', **published.DEPTH_HEAD), 3)
    torch.save(published.vpd_depth(*small, head.state_dict()), tmp_path / 'depth.pth')
    assert 'one checkpoint at a time' in refusal(
        capsys, tmp_path / 'sd.safetensors', tmp_path / 'depth.pth', '--out', tmp_path / 'out'
    )


def test_normals_are_of_one_aggregator_and_one_decoder(folder, tmp_path, capsys):
    """Two epochs of one of them: which is meant cannot be told, and both fit."""
    save_file({'c': torch.zeros(2, 64)}, folder / 'empty.safetensors')
    _, neck, head = normal_parts(folder)
    aggregator = published.released_aggregator(neck.state_dict())
    decoder = published.released_decoder(head.decoder.state_dict())
    other = {key: value + 1 for key, value in aggregator.items()}
    for name, state in dict(
        a48=aggregator,
        a49=other,
        b49=decoder,
        both={**other, **decoder},
        mixed={**decoder, 'mlp.layers.0.weight': torch.ones(4, 4)},
    ).items():
        torch.save(state, tmp_path / f'{name}.pth')
    out = ('--out', tmp_path / 'out')
    text = refusal(capsys, tmp_path / 'a48.pth', tmp_path / 'a49.pth', tmp_path / 'b49.pth', *out)
    assert f'{tmp_path / "a48.pth"} and {tmp_path / "a49.pth"} both hold the aggregator' in text
    assert text.endswith('give one file of each')
    text = refusal(capsys, tmp_path / 'both.pth', tmp_path / 'b49.pth', *out)
    assert 'both hold the normal decoder of Diff-2-in-1' in text
    assert 'both hold the aggregator' in refusal(capsys, tmp_path / 'a48.pth', tmp_path / 'a49.pth', *out)
    text = refusal(capsys, tmp_path / 'a48.pth', tmp_path / 'mixed.pth', *out)
    assert "both hold the weight 'mlp.layers.0.weight'" in text
    assert not (tmp_path / 'out').exists()
    convert(tmp_path / 'both.pth', *out)  # one file with both is clear
