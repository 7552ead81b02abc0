"""The networks: the causal video VAE, the world-model transformer and its parts, the text encoder."""
