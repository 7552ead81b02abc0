"""Configuration: frozen pydantic models, overrides by dotted path, a digest of the result.

Every config class of the project derives from `Config` and stands beside the thing it configures.
This module does not know any of those things.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from worldloom.errors import ConfigError

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


class Config(BaseModel):
    """Base of every configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecipeConfig(Config):
    """A config whose defaults are recipes: a part that is given in part keeps its recipe's rest."""

    @model_validator(mode="before")
    @classmethod
    def _keeps_the_recipe(cls, values: object) -> object:
        """Lay what is given over the defaults; what is no mapping is pydantic's to refuse."""
        if not isinstance(values, Mapping):
            return values
        laid = dict(values)
        for name, value in values.items():
            field = cls.model_fields.get(str(name))
            if field is not None and isinstance(value, Mapping):
                default = field.get_default(call_default_factory=True)
                if isinstance(default, Config):
                    laid[name] = _merged(resolved(default), value)
        return laid


ConfigT = TypeVar("ConfigT", bound=Config)


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: object) -> str:
    """Return `sha256:<hex>` of a JSON value's canonical text."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()


def resolved(config: Config) -> dict[str, JsonValue]:
    """Return every value of a config, defaults included, as plain JSON."""
    return dict(config.model_dump(mode="json"))


def parse_config(cls: type[ConfigT], values: Mapping[str, object], *, where: str = "") -> ConfigT:
    """Validate plain values into a config.

    Raises:
        ConfigError: naming the path, the rule and the value of the first mistake.
    """
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([where, *map(str, first["loc"])] if where else map(str, first["loc"]))
        message = f"{path or cls.__name__}: {first['msg'].removeprefix('Value error, ')}"
        if not isinstance(first["input"], Mapping):  # a rule over several settings names them
            message += f" (value {first['input']!r})"
        if first["type"] == "extra_forbidden":
            known = ", ".join(_fields_at(cls, first["loc"][:-1]))
            message = f"{path}: no such setting (value {first['input']!r}); known: {known}"
        raise ConfigError(message) from error


def load_config(cls: type[ConfigT], text: str, *, where: str = "") -> ConfigT:
    """Parse JSON text into a config; raises `ConfigError` like `parse_config`."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"{where or cls.__name__}: not JSON ({error}), expected an object of settings"
        raise ConfigError(message) from error
    if not isinstance(values, dict):
        message = f"{where or cls.__name__}: expected an object of settings, got {values!r}"
        raise ConfigError(message)
    return parse_config(cls, values, where=where)


def apply_overrides(config: ConfigT, overrides: Iterable[str]) -> ConfigT:
    """Return the config with `dotted.path=value` overrides applied; values are JSON or text.

    Raises:
        ConfigError: for an override without `=`, an unknown path or a refused value.
    """
    values = resolved(config)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            message = f"override {override!r}: expected dotted.path=value"
            raise ConfigError(message)
        *parents, leaf = path.split(".")
        node: dict[str, JsonValue] = values
        for name in parents:
            child = node.get(name)
            if not isinstance(child, dict):
                message = f"{path}: no such setting; known at {name!r}: {', '.join(node)}"
                raise ConfigError(message)
            node = child
        node[leaf] = _json_or_text(text)
    return parse_config(type(config), values)


def _merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    result = dict(below)
    for name, value in above.items():
        old = result.get(name)
        merges = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = _merged(old, value) if merges else value  # type: ignore[arg-type]
    return result


def _json_or_text(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value


def _fields_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] = cls
    for part in loc:
        field = current.model_fields.get(str(part))
        if field is None:
            break
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            current = field.annotation
    return list(current.model_fields)
