"""The model registry behind a guard: leases, compare-and-set, an audit log, rollback, lineage.

Importing this package needs neither MLflow nor a server; `services.registry.mlflow_models` does.
"""

from services.registry.champion import (
    DEFAULT_ALIAS,
    DEFAULT_MODEL,
    ChampionRecord,
    current_champion,
)

__all__ = ["DEFAULT_ALIAS", "DEFAULT_MODEL", "ChampionRecord", "current_champion"]
