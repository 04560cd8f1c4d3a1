"""ControlNets: what they add is what diffusers adds."""

import pytest
import torch
from diffusers import ControlNetModel

from diff2in1_mm.diffusion.control import ControlBranch
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion

from ..small_models import tiny_control


@pytest.fixture(scope='module')
def folder(pipeline, tmp_path_factory):
    return tiny_control(pipeline, str(tmp_path_factory.mktemp('control')))


@pytest.fixture
def diffusion(pipeline_folder):
    return LatentDiffusion.from_pretrained(pipeline_folder)


def test_a_pass_equals_plain_diffusers_and_nothing_stays_behind(diffusion, pipeline, folder):
    branch = ControlBranch.from_pretrained(folder, torch.float32, scale=0.7)
    branch.check_fits(diffusion.unet, diffusion.latent_stride, 'x')
    generator = torch.Generator().manual_seed(1)
    latents, pictures = torch.randn(2, 4, 8, 12, generator=generator), torch.rand(2, 3, 32, 48, generator=generator)
    condition = diffusion.text.embed([''])
    free = diffusion.predict(latents, 500, condition)[0]
    with diffusion.controlled(branch, pictures):
        found = diffusion.predict(latents, 500, condition)[0]
    with torch.no_grad():
        network = ControlNetModel.from_pretrained(folder)
        sequence = condition.sequence.expand(2, -1, -1)
        down, middle = network(latents, 500, sequence, pictures, conditioning_scale=0.7, return_dict=False)
        expected = pipeline.unet(
            latents, 500, sequence, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (found - free).abs().max() > 0.1
    assert torch.equal(diffusion.predict(latents, 500, condition)[0], free)


def test_pictures_are_padded_as_images_are(diffusion, folder):
    branch = ControlBranch.from_pretrained(folder, torch.float32)
    images = torch.rand(1, 3, 30, 41) * 2 - 1
    latents = diffusion.encode(images)
    with diffusion.controlled(branch, (images + 1) / 2):
        output = diffusion.predict(latents, 300, diffusion.text.embed(['']))[0]
    assert output.shape == latents.shape


def test_another_models_branch_is_refused(diffusion, pipeline, folder, tmp_path):
    network = ControlNetModel.from_unet(pipeline.unet)  # of latents of stride 8
    with pytest.raises(ValueError, match='pictures of 8 times the size of latents, but those of .x. have stride 4'):
        ControlBranch(network).check_fits(diffusion.unet, diffusion.latent_stride, 'x')
    network = ControlNetModel(block_out_channels=(4, 8), down_block_types=('DownBlock2D',) * 2, norm_num_groups=4)
    with pytest.raises(ValueError, match="has block_out_channels = .* but the U-Net of 'x'"):
        ControlBranch(network).check_fits(diffusion.unet, 8, 'x')


def test_what_is_no_controlnet_is_told(tmp_path, folder):
    with pytest.raises(ValueError, match='could not be loaded .*: give the folder that holds its config.json'):
        ControlBranch.from_pretrained(str(tmp_path), torch.float32)
    weights = next(file for file in (tmp_path / folder).iterdir() if file.suffix == '.safetensors')
    (tmp_path / weights.name).write_bytes(b'broken')
    (tmp_path / 'config.json').write_bytes((weights.parent / 'config.json').read_bytes())
    with pytest.raises(ValueError, match='(cannot be read|could not be loaded)'):
        ControlBranch.from_pretrained(str(tmp_path), torch.float32)
