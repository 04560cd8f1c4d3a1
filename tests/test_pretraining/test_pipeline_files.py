"""Folders of pipelines: read, written, replaced as a whole."""

import math
import os

import pytest
import torch

from diff2in1_mm.pretraining.pipeline_files import load_pipeline, read_configs, replace_folder


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
