"""The networks: the causal video VAE, the transformer and its parts, the text encoder."""
