"""Data sets, transforms and the mix of real and synthetic samples."""
