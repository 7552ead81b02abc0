"""The champion is known without MLflow."""

from __future__ import annotations

import subprocess
import sys

from services.registry import current_champion
from services.registry.promotion import Guard


def test_there_is_no_champion_in_a_new_store(store) -> None:
    assert current_champion(store) is None


def test_the_champion_is_read_without_mlflow_and_torch(store, guard: Guard, workshop) -> None:
    release = workshop.release("one")
    guard.promote(release, workshop.report(release))
    code = (
        "import sys\n"
        "from services.registry import current_champion\n"
        "from worldloom.store import open_store\n"
        f"assert current_champion(open_store({str(store.root)!r})).release == {release!r}\n"
        "assert not {'mlflow', 'torch', 'kfp'} & set(sys.modules), 'a heavy import'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
