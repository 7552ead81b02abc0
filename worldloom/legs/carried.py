"""The folder of weights that the project carries; recipe and model card of those made anew.

It imports nothing, so that whoever looks for a folder pays for nothing.
"""

from __future__ import annotations

from pathlib import Path

CARRIED = Path(__file__).parents[1] / "starter"
RECIPE = Path(__file__).with_name("starter_recipe.json")
CARD = Path(__file__).with_name("starter_card.md")
RECORD_FILE, CARD_FILE = "training.json", "MODEL_CARD.md"
