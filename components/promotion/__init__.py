"""The pipeline step `promotion`: its KFP interface and a module per task."""
