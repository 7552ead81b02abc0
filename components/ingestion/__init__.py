"""The pipeline step `ingestion`: its KFP interface and a module per task."""
