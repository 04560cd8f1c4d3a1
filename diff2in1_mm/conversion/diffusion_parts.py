"""The diffusion model of a conversion, as a diffusers folder."""

import os.path as osp

from ..diffusion.loading.parts import Parts


def save_parts(parts: Parts, folder: str, text: tuple | None = None) -> None:
    """Write a diffusers folder.

    Args:
        parts (Parts): What to write.
        folder (str): Where; made where it is missing.
        text (tuple | None): Tokenizer and text encoder. With them the folder is a complete
            ``StableDiffusionPipeline``.
    """
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    scheduler = DDIMScheduler(**parts.schedule)
    if text is not None:
        StableDiffusionPipeline(
            vae=parts.vae,
            text_encoder=text[1],
            tokenizer=text[0],
            unet=parts.unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder, safe_serialization=True)
        return
    for name, part in (('unet', parts.unet), ('vae', parts.vae), ('scheduler', scheduler)):
        part.save_pretrained(osp.join(folder, name))
