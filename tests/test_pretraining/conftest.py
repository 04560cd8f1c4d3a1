"""A pipeline to begin from."""

import pytest
import torch
from diffusers import AutoencoderKL

from diff2in1_mm.pretraining.pipeline_files import new_pipeline, save_pipeline

from .small_parts import AUTOENCODER, CAPTIONS, SCHEDULER, TEXT_ENCODER, UNET


@pytest.fixture
def start(tmp_path):
    """A new pipeline in a folder."""
    torch.manual_seed(0)
    pipe = new_pipeline(AutoencoderKL(**AUTOENCODER), UNET, TEXT_ENCODER, SCHEDULER, CAPTIONS)
    save_pipeline(pipe, str(tmp_path / 'start'))
    return str(tmp_path / 'start')
