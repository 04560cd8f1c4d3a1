"""What diffusers itself computes for the families of :mod:`tests.family_models`, written out plainly."""

import math

import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from diff2in1_mm.diffusion.schedules import unshifted

from .versions import before


class StableDiffusion3:
    #: Taps, and the attention that each feeds.
    taps = {f'transformer_blocks.{i}.norm1': f'transformer_blocks.{i}.attn' for i in range(3)}

    @staticmethod
    def texts(pipeline, texts):
        sequence, _, pooled, _ = pipeline.encode_prompt(texts, None, None, do_classifier_free_guidance=False)
        return dict(sequence=sequence, pooled=pooled)

    @staticmethod
    def latents(pipeline, images):
        config = pipeline.vae.config
        return (pipeline.vae.encode(images).latent_dist.mean - config.shift_factor) * config.scaling_factor

    @staticmethod
    def denoise(pipeline, latents, level, told):
        return pipeline.transformer(
            latents, told['sequence'], told['pooled'], torch.full((len(latents),), float(level)), return_dict=False
        )[0]

    @staticmethod
    def run(pipeline, latents, levels, prompt, size):
        """The pipeline itself, from given latents over given levels, which it shifts."""
        sigmas = [unshifted(level / 1000, pipeline.scheduler.config.shift) for level in levels]
        return pipeline(
            prompt,
            height=size[0],
            width=size[1],
            num_inference_steps=len(levels),
            sigmas=sigmas,
            latents=latents,
            guidance_scale=1.0,
            output_type='pt',
        ).images


class Flux:
    taps = {
        **{f'transformer_blocks.{i}.norm1': f'transformer_blocks.{i}.attn' for i in range(2)},
        **{f'single_transformer_blocks.{i}.norm': f'single_transformer_blocks.{i}.attn' for i in range(3)},
    }
    latents = StableDiffusion3.latents

    @staticmethod
    def texts(pipeline, texts):
        sequence, pooled, _ = pipeline.encode_prompt(texts, None)
        return dict(sequence=sequence, pooled=pooled)

    @staticmethod
    def denoise(pipeline, latents, level, told):
        n, channels, height, width = latents.shape
        # diffusers before 0.32 halves the sizes for the places itself, and its stride is that of patches
        halved = before('diffusers', '0.32')
        rows, columns = (height, width) if halved else (height // 2, width // 2)
        tokens = pipeline.transformer(
            pipeline._pack_latents(latents, n, channels, height, width),
            told['sequence'],
            told['pooled'],
            torch.full((n,), level / 1000),
            pipeline._prepare_latent_image_ids(n, rows, columns, 'cpu', torch.float32),
            torch.zeros(told['sequence'].shape[1], 3),
            torch.full((n,), 3.5),
            return_dict=False,
        )[0]
        stride = pipeline.vae_scale_factor / (1 + halved)
        return pipeline._unpack_latents(tokens, int(height * stride), int(width * stride), pipeline.vae_scale_factor)

    @staticmethod
    def run(pipeline, latents, levels, prompt, size):
        n, channels, height, width = latents.shape
        config = pipeline.scheduler.config
        tokens = height * width // 4
        mu = calculate_shift(
            tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
        )
        return pipeline(
            prompt,
            height=size[0],
            width=size[1],
            num_inference_steps=len(levels),
            sigmas=[unshifted(level / 1000, math.exp(mu)) for level in levels],
            latents=pipeline._pack_latents(latents, n, channels, height, width),
            output_type='pt',
        ).images


PLAIN = dict(sd3=StableDiffusion3, flux=Flux)


def attention_inputs(plain, pipeline, run) -> dict[str, torch.Tensor]:
    """What the attention of every block is given, by tap."""
    kept, handles = {}, []
    for tap, attention in plain.taps.items():

        def keep(module, inputs, options, tap=tap):
            kept[tap] = inputs[0] if inputs else options['hidden_states']

        module = pipeline.transformer.get_submodule(attention)
        handles.append(module.register_forward_pre_hook(keep, with_kwargs=True))
    kept['output'] = run()
    for handle in handles:
        handle.remove()
    return kept
