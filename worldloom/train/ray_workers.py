"""Ray Train starts the processes of a training: the same entry on each, already joined.

Workers share the machine's (or the cluster's) files. Ray sets ranks and joins the processes, by
gloo on CPUs and NCCL on GPUs; the learner finds them joined. It does not know what is trained.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Mapping

from worldloom.errors import TrainingError


def run_on_workers(entry: str, text: str, num_workers: int, *, use_gpu: bool = False) -> None:
    """Call `module:function` with a text on each of so many workers, and wait for all.

    With `RAY_ADDRESS` set they run on that cluster, else on a Ray of this machine's own that is
    ended with them.

    Raises:
        TrainingError: when a worker failed, with its sentence.
    """
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False, configure_logging=False)
        else:
            ray.init(
                num_cpus=num_workers + 1,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                _temp_dir=folder,
            )
        try:
            TorchTrainer(
                _work,
                train_loop_config={"entry": entry, "text": text},
                torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
                scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
                run_config=RunConfig(storage_path=folder),
            ).fit()
        except ray.train.TrainingFailedError as error:
            cause = str(error).strip().splitlines()[-1]
            message = f"{entry} on {num_workers} workers failed: {cause}"
            raise TrainingError(message) from error
        finally:
            ray.shutdown()


def _work(given: Mapping[str, str]) -> None:
    """Run in a worker: import the entry and call it."""
    module, _, function = given["entry"].partition(":")
    vars(importlib.import_module(module))[function](given["text"])
