"""Folders of pipelines: read, written, replaced as a whole."""

import math

import pytest
import torch

from diff2in1_mm.pretraining.pipeline_files import load_pipeline, read_configs


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
