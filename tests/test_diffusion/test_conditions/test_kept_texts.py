"""Embeddings of texts on disk: later models of the same encoder load none."""

import shutil

import pytest
import torch

from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion

from ...family_models import save

GROUPS = [['a car', 'the car'], ['a tree']]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('DIFF2IN1_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'texts'


def no_encoder():
    raise AssertionError('the encoder is loaded')


def test_a_later_model_reads_what_was_encoded(cache, pipeline_folder):
    first = LatentDiffusion.from_pretrained(pipeline_folder).text
    expected = first.sequences(['a car', '']), first.averaged(GROUPS)
    later = LatentDiffusion.from_pretrained(pipeline_folder).text
    later._load = no_encoder
    assert torch.equal(later.sequences(['', 'a car']), expected[0].flip(0))
    assert torch.equal(later.averaged(GROUPS), expected[1])
    with pytest.raises(AssertionError, match='the encoder is loaded'):
        later.averaged([['a bus']])
    with pytest.raises(AssertionError, match='the encoder is loaded'):
        later.sequences(['the car'])  # part of a mean, but not embedded alone


def test_other_weights_are_another_encoder(cache, pipeline_folder, tmp_path):
    copied = tmp_path / 'pipeline'
    shutil.copytree(pipeline_folder, copied)
    LatentDiffusion.from_pretrained(str(copied)).text.sequences(['a car'])
    moved = copied.rename(tmp_path / 'moved')  # the same files elsewhere
    text = LatentDiffusion.from_pretrained(str(moved)).text
    text._load = no_encoder
    text.sequences(['a car'])
    weights = moved / 'text_encoder' / 'model.safetensors'
    content = bytearray(weights.read_bytes())
    content[-400:] = bytes(400)
    weights.write_bytes(content)  # of the same length
    changed = LatentDiffusion.from_pretrained(str(moved)).text
    changed.sequences(['a car'])
    assert len([folder for folder in cache.iterdir() if folder.is_dir()]) == 2


def test_nothing_is_kept_where_it_is_switched_off(cache, pipeline_folder, monkeypatch):
    monkeypatch.setenv('DIFF2IN1_CACHE', '')
    LatentDiffusion.from_pretrained(pipeline_folder).text.sequences(['a car'])
    assert not cache.exists()


def test_conditions_of_other_families_come_back_whole(cache, tmp_path):
    folder = save('xl', tmp_path / 'xl')
    expected = load_diffusion(folder).text.embed(['a car', 'a tree'])
    later = load_diffusion(folder).text
    later._load = no_encoder
    found = later.embed(['a car', 'a tree'])
    assert torch.equal(found.sequence, expected.sequence) and torch.equal(found.pooled, expected.pooled)
