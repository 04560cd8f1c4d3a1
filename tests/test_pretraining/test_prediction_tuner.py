"""What denoisers of several families are trained to predict."""

import pytest
import torch

from diff2in1_mm.pretraining.full_trainer import FullTrainer

from ..family_models import save
from ..small_models import save_tiny_pipeline


@pytest.mark.parametrize('prediction', ['epsilon', 'v_prediction', 'flow'])
def test_a_perfect_prediction_has_no_loss(tmp_path, monkeypatch, prediction):
    flow = prediction == 'flow'
    source = save('sd3', tmp_path) if flow else save_tiny_pipeline(tmp_path, prediction_type=prediction)
    trainer = FullTrainer(source)
    clean = torch.randn(3, 4, 8, 8)

    def predict(noised, levels, condition):
        t = torch.tensor(levels).view(-1, 1, 1, 1)
        assert (t > 0).all()
        if flow:
            return ((noised - clean) / (t / 1000),)
        abar = trainer.model.scheduler.alphas_cumprod[t]
        noise = (noised - abar.sqrt() * clean) / (1 - abar).sqrt()
        return (noise if prediction == 'epsilon' else abar.sqrt() * noise - (1 - abar).sqrt() * clean,)

    monkeypatch.setattr(trainer.model, 'predict', predict)
    assert trainer(latents=clean)['loss_denoising'] < 1e-6


def test_levels_of_sample_grids_are_named(start):
    with pytest.raises(ValueError, match='denoiser.model.sample_strengths = 1000 is out of range'):
        FullTrainer(start, sample_strengths=(1000,))
