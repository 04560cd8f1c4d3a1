"""The latent diffusion model: loading, encoding, noising, denoising, conditions, taps."""
