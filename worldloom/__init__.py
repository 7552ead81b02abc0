"""Worldloom: an interactive world model with long memory, how it learns, runs and is judged.

The library knows nothing of Kubernetes, Kubeflow, MLflow, Triton or HTTP; those live in
`components`, `pipelines` and `services`, which use it.
"""

__version__ = "0.1.0"
