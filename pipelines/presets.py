"""Settings of whole runs by name: only what differs from each task's own defaults.

`demo` fits ten minutes of two cores, `smallest` is what tests run. A task's config class checks
them when a run is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping

from worldloom.config import JsonValue

PRESETS: Mapping[str, Mapping[str, Mapping[str, JsonValue]]] = {
    "demo": {},
    "smallest": {},
}
