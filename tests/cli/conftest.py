import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "worldloom"))  # so that tests find `tiny_public`
sys.path.insert(0, str(Path(__file__).parents[1] / "services" / "client"))  # and `fake_gateway`
