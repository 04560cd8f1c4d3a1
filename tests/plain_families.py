"""What diffusers itself computes for the families of :mod:`tests.family_models`, written out plainly."""

import torch

from diff2in1_mm.diffusion.schedules import unshifted


class StableDiffusion3:
    blocks = [f'transformer_blocks.{i}' for i in range(3)]
    tap = '{}.norm1'
    attention = '{}.attn'
    patch = 2

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


PLAIN = dict(sd3=StableDiffusion3)


def attention_inputs(plain, pipeline, run) -> dict[str, torch.Tensor]:
    """What the attention of every block is given for the image's tokens, by block."""
    kept, handles = {}, []
    for block in plain.blocks:
        module = pipeline.transformer.get_submodule(plain.attention.format(block))

        def keep(module, inputs, options, block=block):
            kept[block] = inputs[0] if inputs else options['hidden_states']

        handles.append(module.register_forward_pre_hook(keep, with_kwargs=True))
    kept['output'] = run()
    for handle in handles:
        handle.remove()
    return kept
