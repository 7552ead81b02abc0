"""A GPU that is fit to be measured: alone on it, large enough, and named with its software.

It does not know what is measured.
"""

from __future__ import annotations

import torch
import triton

from worldloom.errors import MachineError

GIB = 1 << 30
# A context of our own and what the driver keeps; more than this is another process's.
MOST_FOREIGN_BYTES = 2 * GIB


def require_lone_gpu(device: torch.device) -> int:
    """Return the free bytes of a GPU.

    Raises:
        MachineError: for a CPU, or while another process holds memory of the GPU.
    """
    if device.type != "cuda":
        message = f"device {device.type!r}: this is measured on a GPU, expected cuda"
        raise MachineError(message)
    free, total = torch.cuda.mem_get_info(device)
    foreign = total - free - torch.cuda.memory_reserved(device)
    require_alone(foreign, torch.cuda.get_device_name(device))
    return free


def require_alone(foreign_bytes: int, name: str) -> None:
    """Refuse a GPU of which others hold memory; raises `MachineError`."""
    if foreign_bytes > MOST_FOREIGN_BYTES:
        message = (
            f"GPU {name}: {foreign_bytes / GIB:.1f} GiB are held by others, expected to be alone "
            "on it, or times would be theirs too"
        )
        raise MachineError(message)


def software_note() -> str:
    """Return the versions that times hang on beside torch's own, in a sentence."""
    cudnn = torch.backends.cudnn.version()
    return f"CUDA {torch.version.cuda}, cuDNN {cudnn}, Triton {triton.__version__}."
