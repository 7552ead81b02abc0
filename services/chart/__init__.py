"""The Helm chart's values as pydantic models, and the files that are made from them."""
