"""The folder of weights that the project carries, and the recipe that makes such weights anew.

It imports nothing, so that whoever looks for a folder pays for nothing.
"""

from __future__ import annotations

from pathlib import Path

CARRIED = Path(__file__).parents[1] / "starter"
RECIPE = Path(__file__).with_name("starter_recipe.json")
RECORD_FILE = "training.json"
