"""Why a config is not switched as it was asked for, by what would work in its place."""

from ..utils.errors import UserError

__all__ = ['BackboneError', 'LabelsError', 'TrialError', 'is_missing']


class BackboneError(UserError):
    """A diffusion model cannot take the place of the backbone; the model may work with its own."""


class TrialError(BackboneError):
    """The model cannot be run on images of one size; it may on others."""


class LabelsError(UserError):
    """theta_C cannot label for the model, or that learns nothing from its labels; the features alone may serve it."""


def is_missing(error: Exception) -> bool:
    """Whether an error says that a package is not installed; libraries tell it by errors of several kinds."""
    return isinstance(error, ImportError) or 'pip install' in str(error)
