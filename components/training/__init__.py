"""The pipeline step `training`: its KFP interface and a module per task."""
