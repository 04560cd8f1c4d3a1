"""What the denoiser is told about an image."""
