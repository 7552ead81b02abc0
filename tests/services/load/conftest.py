import sys
from pathlib import Path

# So that tests find `fake_gateway`.
sys.path.insert(0, str(Path(__file__).parents[1] / "client"))
