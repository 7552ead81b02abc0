"""The SDK stands alone: neither torch nor the library is needed for it."""

from __future__ import annotations

import json
import subprocess
import sys


def test_client_imports_neither_torch_nor_the_library() -> None:
    code = (
        "import json, sys, services.client\n"
        "roots = {name.split('.')[0] for name in sys.modules}\n"
        "foreign = {name for name in sys.modules if name.startswith('services.')}\n"
        "print(json.dumps([sorted(roots), sorted(foreign)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    roots, services = json.loads(done.stdout)
    assert not {"torch", "worldloom", "components", "pipelines", "cli", "cv2"} & set(roots)
    assert not {"tritonclient", "cv2"} & set(roots)
    assert {name for name in services if not name.startswith("services.client")} == {
        "services.contract",
        "services.protocol",
        "services.session_state",
    }
