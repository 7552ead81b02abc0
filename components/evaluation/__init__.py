"""The pipeline step `evaluation`: its KFP interface and a module per task."""
