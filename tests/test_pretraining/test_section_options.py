"""Misspelt options of a stage are told before any stage runs."""

import glob
import os.path as osp

import pytest
from mmengine.config import Config

import diff2in1_mm
from diff2in1_mm.pretraining.section_options import check_parts
from diff2in1_mm.utils.errors import UserError

CONFIGS = sorted(glob.glob(osp.join(osp.dirname(diff2in1_mm.config_path('diffusion_camvid.py')), 'diffusion_*.py')))


@pytest.mark.parametrize('path', CONFIGS, ids=osp.basename)
def test_shipped_configs_pass(path):
    check_parts(Config.fromfile(path))


@pytest.mark.parametrize(
    'option, value, sentence',
    [
        ('optim_wrapper.optimizer.lrr', 1, r"denoiser.optim_wrapper.optimizer \(AdamW\) has no option 'lrr'"),
        ('optim_wrapper.clip_gradd', 1, r"\(OptimWrapper\) has no option 'clip_gradd'; did you mean 'clip_grad'"),
        ('param_scheduler.0.start_facto', 1, r"denoiser.param_scheduler \(LinearLR\) has no option 'start_facto'"),
        ('train_cfg.max_iter', 1, r"\(IterBasedTrainLoop\) has no option 'max_iter'; did you mean 'max_iters'"),
        ('custom_hooks.1.interva', 1, r"\(SampleGridHook\) has no option 'interva'; did you mean 'interval'"),
        ('train_dataloader.sampler.shufle', True, r"\(InfiniteSampler\) has no option 'shufle'"),
        ('model.latent_cro', 1, r"\(DenoiserTrainer\) has no option 'latent_cro'; did you mean 'latent_crop'"),
        ('unet.layer_per_block', 1, "denoiser.unet has no setting 'layer_per_block'; did you mean 'layers_per_block'"),
        ('unet.norm_num_groups', 7, r'denoiser.unet: diffusers refuses these settings \(num_channels'),
        ('text_encoder.hidden', 7, "denoiser.text_encoder has no setting 'hidden'"),
        ('scheduler.beta_schedule', 'scaled', 'denoiser.scheduler: diffusers refuses .*scaled is not implemented'),
        ('scheduler.trained_betas', [0.1] * 3, 'has 3 trained_betas for 1000 num_train_timesteps'),
    ],
)
def test_misspelt_options_are_named_with_their_place(option, value, sentence):
    cfg = Config.fromfile(diff2in1_mm.config_path('diffusion_camvid.py'))
    cfg.merge_from_dict({f'denoiser.{option}': value})
    with pytest.raises(UserError, match=sentence):
        check_parts(cfg)


def test_what_hands_its_options_on_takes_them():
    cfg = Config.fromfile(diff2in1_mm.config_path('diffusion_camvid.py'))
    cfg.merge_from_dict({'denoiser.custom_hooks.0.gamma': 20, 'denoiser.text_encoder.output_attentions': True})
    check_parts(cfg)
