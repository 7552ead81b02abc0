"""What a model costs before it exists: parameters, operations, bytes, GPUs."""
