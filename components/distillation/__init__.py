"""The pipeline step `distillation`: its KFP interface and a module per task."""
