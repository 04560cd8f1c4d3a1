"""Stable Diffusion in the original key layout, as a diffusers folder."""

from collections.abc import Mapping

from torch import Tensor

from ..diffusion.loading.original_layout import UNET, VAE, refuse_other_models, stated_prediction
from ..diffusion.loading.original_parts import build_parts
from ..utils.errors import UserError
from .converted import Converted, Keys

_TEXT = 'cond_stage_model.'
_JOINT_SPACE = (f'{_TEXT}model.logit_scale', f'{_TEXT}model.text_projection')
_SCHEDULE = ('betas', 'alphas_cumprod', 'sqrt_', 'log_one_minus', 'posterior_')


def convert_stable_diffusion(state: Mapping[str, Tensor], name: str, prediction_type: str | None = None) -> Converted:
    """A complete model of the 1.x or 2.x family.

    Args:
        state (Mapping[str, Tensor]): Of the file.
        name (str): Of the file, for messages.
        prediction_type (str | None): 'epsilon' or 'v_prediction'; files of the 2.x family do not
            say it.

    Returns:
        Converted: A diffusion model without a task.

    Raises:
        ValueError: Another model, or an incomplete one; one sentence says which.
    """
    refuse_other_models(name, dict(state))
    prediction_type = prediction_type or stated_prediction(state)
    if prediction_type is None:
        raise UserError(
            f'{name} is of the 2.x family, whose files do not say what they predict: add '
            '--prediction-type v_prediction (the 768-pixel models) or epsilon (the base models)'
        )
    keys = Keys(state)
    keys.leave('moving average of the training; the weights themselves are taken', 'model_ema.')
    keys.leave('a mark of what it predicts, which the diffusers folder has as a setting', 'v_pred')
    keys.leave('noise schedule, which the diffusers folder has as settings', *_SCHEDULE)
    keys.leave('loss of the autoencoder', f'{VAE}loss.')
    keys.leave('of the comparison with images, which conditions do not need', *_JOINT_SPACE)
    for prefix in (UNET, VAE, _TEXT):
        keys.take(prefix)
    parts, _ = build_parts(state, name, prediction_type)
    result = Converted(keys, parts=parts)
    if not any(key.startswith(_TEXT) for key in state):
        result.missing['text_encoder'] = 'left out: conditions have to be PrecomputedEmbeddings'
    return result
