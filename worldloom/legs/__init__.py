"""Training in legs of minutes: clips made beside the training, weights in, weights out."""
