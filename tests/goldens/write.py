"""Write what the small transformers answer on a device into `transformer.json`.

    python tests/goldens/write.py --device cuda

Run it where such a device is, from the repository's root, and keep the entry that it writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "worldloom" / "model")]

from golden_forward import GOLDENS, golden, stored_goldens  # noqa: E402


def main() -> None:
    """Measure on one device and keep the others' entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    device = parser.parse_args().device
    goldens = {**stored_goldens(), device: golden(device)}
    GOLDENS.write_text(json.dumps(goldens, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
