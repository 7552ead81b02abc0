"""The folder of weights that the project carries, and what lies in it beside them.

It imports nothing, so that whoever looks for the folder pays for nothing.
"""

from __future__ import annotations

from pathlib import Path

CARRIED = Path(__file__).parents[1] / "starter"
RECIPE_FILE = "recipe.json"
RECORD_FILE = "training.json"
