"""Pixels into latents and back, in streams: the project's small VAE, and the layout of Wan2.2."""
