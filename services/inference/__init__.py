"""The inference server: an engine that knows no Triton, a thin Triton model, its process."""
