"""The pipeline step `quantization`: its KFP interface and a module per task."""
