"""The stream model at the speed of a GPU: the same mathematics in fewer, larger strokes."""
