"""MLflow's model registry as the guard sees it.

It translates and decides nothing: whoever moves the alias through this alone bypasses the guard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.registry.models import ModelVersion
from worldloom.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.exceptions import MlflowException

_DESCRIPTION = "Releases of the world model. The alias is moved by `worldloom registry` alone."


class MlflowModels:
    """A `services.registry.models.ModelRegistry` on an MLflow server."""

    def __init__(self, client: MlflowClient, name: str) -> None:
        """Use the registered model of that name, which is made with the first version."""
        self._client = client
        self._name = name

    def versions(self) -> list[ModelVersion]:
        """Return all versions, oldest first."""
        found: list[ModelVersion] = []
        page: str | None = None
        with _registry_errors("the list of versions"):
            while True:
                result = self._client.search_model_versions(
                    f"name = '{self._name}'", max_results=1000, page_token=page
                )
                found += [_to_version(version) for version in result]
                page = result.token
                if not page:
                    return sorted(found, key=lambda version: int(version.version))

    def version(self, version: str) -> ModelVersion | None:
        """Return a version, None where there is none."""
        from mlflow.exceptions import MlflowException

        with _registry_errors(f"version {version}"):
            try:
                return _to_version(self._client.get_model_version(self._name, version))
            except MlflowException as error:
                if _is_missing(error):
                    return None
                raise

    def create_version(self, source: str, tags: Mapping[str, str]) -> ModelVersion:
        """Register a new version, and the model itself if it is the first."""
        with _registry_errors("a new version"):
            if self._model() is None:
                self._client.create_registered_model(self._name, description=_DESCRIPTION)
            created = self._client.create_model_version(self._name, source, tags=dict(tags))
        return _to_version(created)

    def alias(self, alias: str) -> str:
        """Return the version that the alias points to, empty text for none."""
        with _registry_errors(f"alias {alias}"):
            model = self._model()
            return "" if model is None else str(model.aliases.get(alias, ""))

    def set_alias(self, alias: str, version: str) -> None:
        """Point the alias to a version; empty text removes it."""
        with _registry_errors(f"alias {alias}"):
            if version:
                self._client.set_registered_model_alias(self._name, alias, version)
            else:
                self._client.delete_registered_model_alias(self._name, alias)

    def tag(self, name: str) -> str:
        """Return a tag of the registered model, empty text for none."""
        with _registry_errors(f"tag {name}"):
            model = self._model()
            return "" if model is None else str(model.tags.get(name, ""))

    def set_tag(self, name: str, value: str) -> None:
        """Write a tag of the registered model."""
        with _registry_errors(f"tag {name}"):
            if self._model() is not None:
                self._client.set_registered_model_tag(self._name, name, value)

    def _model(self) -> RegisteredModel | None:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_registered_model(self._name)
        except MlflowException as error:
            if _is_missing(error):
                return None
            raise


def _to_version(version: MlflowVersion) -> ModelVersion:
    return ModelVersion(
        version=str(version.version),
        source=str(version.source),
        tags={str(key): str(value) for key, value in version.tags.items()},
        created=version.creation_timestamp / 1000,
    )


def _is_missing(error: MlflowException) -> bool:
    return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")


@contextmanager
def _registry_errors(what: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        message = f"the model registry refused {what}: {str(error).splitlines()[0][:400]}"
        raise TrackingError(message) from error
    except OSError as error:  # requests' errors are OSErrors
        message = f"the model registry did not answer about {what}: {error}"
        raise TrackingError(message) from error
