"""What diffusers itself computes for the families of :mod:`tests.family_models`, written out plainly."""

import inspect
import math

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch.nn.utils.rnn import pad_sequence

from diff2in1_mm.diffusion.schedules import unshifted

from .versions import before


def unshifted_for(pipeline, levels, tokens):
    """Sigmas that a scheduler shifts to the levels, for an image of so many tokens."""
    config = pipeline.scheduler.config
    mu = calculate_shift(
        tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )
    return [unshifted(level / 1000, math.exp(mu)) for level in levels]


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
            latents,
            told['sequence'],
            told['pooled'],
            latents.new_full((len(latents),), float(level)),
            return_dict=False,
        )[0]

    @staticmethod
    def run(pipeline, latents, levels, prompt, size, guidance=1.0):
        """The pipeline itself, from given latents over given levels, which it shifts."""
        sigmas = [unshifted(level / 1000, pipeline.scheduler.config.shift) for level in levels]
        return pipeline(
            prompt,
            height=size[0],
            width=size[1],
            num_inference_steps=len(levels),
            sigmas=sigmas,
            latents=latents,
            guidance_scale=guidance,
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
            latents.new_full((n,), level / 1000),
            pipeline._prepare_latent_image_ids(n, rows, columns, latents.device, torch.float32),
            latents.new_zeros(told['sequence'].shape[1], 3),
            latents.new_full((n,), 3.5),
            return_dict=False,
        )[0]
        stride = pipeline.vae_scale_factor / (1 + halved)
        return pipeline._unpack_latents(tokens, int(height * stride), int(width * stride), pipeline.vae_scale_factor)

    @staticmethod
    def run(pipeline, latents, levels, prompt, size):
        n, channels, height, width = latents.shape
        return pipeline(
            prompt,
            height=size[0],
            width=size[1],
            num_inference_steps=len(levels),
            sigmas=unshifted_for(pipeline, levels, height * width // 4),
            latents=pipeline._pack_latents(latents, n, channels, height, width),
            output_type='pt',
        ).images


class Sana:
    taps = {f'transformer_blocks.{i}.attn1': f'transformer_blocks.{i}.attn1' for i in range(3)}

    @staticmethod
    def texts(pipeline, texts):
        instruction = inspect.signature(pipeline.__call__).parameters['complex_human_instruction'].default
        sequence, mask, _, _ = pipeline.encode_prompt(
            texts, do_classifier_free_guidance=False, complex_human_instruction=instruction
        )
        return dict(sequence=sequence, mask=mask)

    @staticmethod
    def latents(pipeline, images):
        return pipeline.vae.encode(images).latent * pipeline.vae.config.scaling_factor

    @staticmethod
    def denoise(pipeline, latents, level, told):
        level = latents.new_full((len(latents),), level * pipeline.transformer.config.timestep_scale)
        mask = told['mask']
        return pipeline.transformer(latents, told['sequence'], level, encoder_attention_mask=mask, return_dict=False)[0]

    @staticmethod
    def run(pipeline, latents, levels, prompt, size):
        """With Euler's steps, whose scheduler takes levels of one's own."""
        pipeline = type(pipeline)(**{**pipeline.components, 'scheduler': FlowMatchEulerDiscreteScheduler()})
        pipeline.set_progress_bar_config(disable=True)
        return pipeline(
            prompt,
            height=size[0],
            width=size[1],
            sigmas=[level / 1000 for level in levels],
            latents=latents,
            guidance_scale=1.0,
            use_resolution_binning=False,
            output_type='pt',
        ).images


class PixArt:
    taps = Sana.taps

    @staticmethod
    def texts(pipeline, texts):
        sequence, mask, _, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False)
        return dict(sequence=sequence, mask=mask)

    @staticmethod
    def latents(pipeline, images):
        return pipeline.vae.encode(images).latent_dist.mean * pipeline.vae.config.scaling_factor

    @staticmethod
    def denoise(pipeline, latents, level, told):
        height, width = (side * pipeline.vae_scale_factor for side in latents.shape[-2:])
        sizes = dict(
            resolution=latents.new_tensor([[height, width]] * len(latents)),
            aspect_ratio=latents.new_tensor([[height / width]] * len(latents)),
        )
        return pipeline.transformer(
            latents,
            told['sequence'],
            latents.new_full((len(latents),), level),
            added_cond_kwargs=sizes if pipeline.transformer.use_additional_conditions else None,
            encoder_attention_mask=told['mask'],
            return_dict=False,
        )[0][:, :4]


class ZImage:
    taps = {f'layers.{i}.attention': f'layers.{i}.attention' for i in range(3)}
    latents = StableDiffusion3.latents

    @staticmethod
    def run(pipeline, latents, levels, prompt, size):
        """Its pipeline counts no guidance as 0."""
        return StableDiffusion3.run(pipeline, latents, levels, prompt, size, guidance=0.0)

    @staticmethod
    def texts(pipeline, texts):
        rows, _ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False)
        sequence = pad_sequence(rows, batch_first=True)
        return dict(
            sequence=sequence, mask=torch.tensor([[i < len(row) for i in range(sequence.shape[1])] for row in rows])
        )

    @staticmethod
    def denoise(pipeline, latents, level, told):
        texts = [row[mask] for row, mask in zip(told['sequence'], told['mask'])]
        clean = latents.new_full((len(latents),), 1 - level / 1000)
        return -torch.cat(
            pipeline.transformer(list(latents[:, :, None]), clean, texts, return_dict=False)[0], 1
        ).movedim(1, 0)


class QwenImage:
    taps = {f'transformer_blocks.{i}.attn': f'transformer_blocks.{i}.attn' for i in range(3)}

    @staticmethod
    def texts(pipeline, texts):
        sequence, mask = pipeline.encode_prompt(texts)
        return dict(sequence=sequence, mask=torch.ones(sequence.shape[:2]) if mask is None else mask)

    @staticmethod
    def latents(pipeline, images):
        config = pipeline.vae.config
        mean, deviation = (
            images.new_tensor(v)[None, :, None, None, None] for v in (config.latents_mean, config.latents_std)
        )
        return ((pipeline.vae.encode(images[:, :, None]).latent_dist.mean - mean) / deviation)[:, :, 0]

    @staticmethod
    def denoise(pipeline, latents, level, told):
        n, channels, height, width = latents.shape
        tokens = pipeline.transformer(
            pipeline._pack_latents(latents, n, channels, height, width),
            told['sequence'],
            told['mask'],
            latents.new_full((n,), level / 1000),
            [[(1, height // 2, width // 2)]] * n,
            return_dict=False,
        )[0]
        stride = pipeline.vae_scale_factor
        return pipeline._unpack_latents(tokens, height * stride, width * stride, stride)[:, :, 0]

    @staticmethod
    def run(pipeline, latents, levels, prompt, size):
        n, channels, height, width = latents.shape
        return pipeline(
            prompt,
            height=size[0],
            width=size[1],
            sigmas=unshifted_for(pipeline, levels, height * width // 4),
            latents=pipeline._pack_latents(latents, n, channels, height, width),
            true_cfg_scale=1.0,
            output_type='pt',
        ).images


class Flux2:
    """Klein, and dev, which is told guidance."""

    taps = {
        f'{blocks}.{i}.attn': f'{blocks}.{i}.attn'
        for blocks, number in (('transformer_blocks', 2), ('single_transformer_blocks', 3))
        for i in range(number)
    }

    @staticmethod
    def texts(pipeline, texts):
        return dict(sequence=pipeline.encode_prompt(texts)[0])

    @staticmethod
    def latents(pipeline, images):
        return pipeline._encode_vae_image(images, None)

    @staticmethod
    def denoise(pipeline, latents, level, told):
        places = pipeline._prepare_latent_ids(latents)
        tokens = pipeline.transformer(
            pipeline._pack_latents(latents),
            told['sequence'],
            latents.new_full((len(latents),), level / 1000),
            places,
            pipeline._prepare_text_ids(told['sequence']),
            latents.new_full((len(latents),), 4.0) if pipeline.transformer.config.guidance_embeds else None,
            return_dict=False,
        )[0]
        return pipeline._unpack_latents_with_ids(tokens, places)

    @staticmethod
    def run(pipeline, latents, levels, prompt, size):
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        mu = compute_empirical_mu(latents.shape[-2] * latents.shape[-1], len(levels))
        return pipeline(
            prompt=prompt,
            height=size[0],
            width=size[1],
            num_inference_steps=len(levels),
            sigmas=[unshifted(level / 1000, math.exp(mu)) for level in levels],
            latents=latents,
            guidance_scale=4.0 if pipeline.transformer.config.guidance_embeds else 1.0,
            output_type='pt',
        ).images


#: Trained by flow matching: with a ``run`` of the pipeline over levels.
FLOW = dict(
    sd3=StableDiffusion3, flux=Flux, sana=Sana, z_image=ZImage, qwen_image=QwenImage, flux_2=Flux2, flux_2_dev=Flux2
)
PLAIN = dict(**FLOW, pixart=PixArt)


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
