"""The steps of the pipeline: a folder each, with its KFP interface and its work."""
