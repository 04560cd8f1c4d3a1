import pytest

from diff2in1_mm.diffusion import LatentDiffusion

from ..small_models import save_tiny_pipeline, tiny_pipeline


@pytest.fixture(scope='session')
def pipeline():
    pipe = tiny_pipeline()
    for part in (pipe.vae, pipe.unet, pipe.text_encoder):
        part.eval()
    return pipe


@pytest.fixture(scope='session')
def pipeline_folder(tmp_path_factory):
    return save_tiny_pipeline(tmp_path_factory.mktemp('pipeline'))


@pytest.fixture
def diffusion(pipeline_folder):
    return LatentDiffusion.from_pretrained(pipeline_folder)
