"""Stable Diffusion 1.x and 2.x: a U-Net on the latents of an image autoencoder, with one text encoder."""

from ..utils.values import check_choice
from .conditions.clip_texts import TextEmbedder
from .loading.embedded import locate
from .loading.parts import Parts
from .loading.source import check_source, load_parts, replace_weights
from .precision import DTYPES, warn_if_slow
from .unet_model import UNetModel


class LatentDiffusion(UNetModel):
    """VAE, U-Net, noise schedule and text embeddings as one frozen model.

    Args:
        parts (Parts): The loaded components, see :func:`load_parts`.
        source (str): Where they came from, for messages and records.
    """

    def __init__(self, parts: Parts, source: str = '') -> None:
        super().__init__(parts.vae, parts.unet, parts.schedule, source)
        self.text = TextEmbedder(parts.load_text, self.text_device, parts.kept_texts)

    @classmethod
    def from_pretrained(
        cls,
        source: str,
        dtype: str = 'fp32',
        prediction_type: str | None = None,
        variant: str | None = None,
        revision: str | None = None,
        unet: str | None = None,
    ) -> 'LatentDiffusion':
        """Load a diffusers folder, a hub id, or a single file in the original layout.

        Args:
            source (str): For example ``'stable-diffusion-v1-5/stable-diffusion-v1-5'``, a folder
                with ``model_index.json``, a ``.safetensors`` / ``.ckpt`` file, or
                ``'diff2in1_mm/rooms'``, the small model that comes with the package.
            dtype (str): 'fp32', 'fp16' or 'bf16', of all frozen parts. Default 'fp32'.
            prediction_type (str | None): 'epsilon' or 'v_prediction' where the source does not
                say it.
            variant (str | None): File variant of a diffusers folder, for example 'fp16'.
            revision (str | None): Commit, branch or tag of a hub id, for all its parts. None: its
                main branch, which may change between two runs.
            unet (str | None): File or folder with other weights of its U-Net in the names of diffusers, as CleanDIFT
                publishes them for SD 1.5 and 2.1 (Stracke et al. 2025): tuned for features of images without noise.

        Returns:
            LatentDiffusion: On the CPU.

        Raises:
            ValueError: One sentence that names what is wrong with the source and the mend.
        """
        check_choice('dtype', dtype, DTYPES)
        warn_if_slow(dtype)
        parts = load_parts(locate(source), DTYPES[dtype], prediction_type, variant, revision)
        if unet is not None:
            replace_weights(parts.unet, unet, source)
        return cls(parts, source if unet is None else f'{source} with the U-Net of {unet}')

    @classmethod
    def check_source(cls, source: str) -> None:
        """See :func:`~diff2in1_mm.diffusion.loading.source.check_source`."""
        check_source(locate(source))
