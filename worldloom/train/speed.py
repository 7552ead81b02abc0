"""How fast a run goes: samples a second, use of the machine's arithmetic, time spent on data.

Model FLOPs utilisation (MFU) is what the model's products need (three forwards a step; what is
computed twice to save memory is not counted again) over what the device could do in that time. A
GPU's peak is its data sheet's, dense; a CPU has none, so its own matrix product is timed once. It
does not know models.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

_TERA = 1e12
# Dense bf16 TFLOP/s by data sheet; the first name that a device's name contains counts.
_GPU_PEAK_TFLOPS = (
    ("H200", 989.0),
    ("H100 PCIe", 756.0),
    ("H100", 989.0),
    ("B200", 2250.0),
    ("A100", 312.0),
    ("L40S", 362.0),
    ("L4", 121.0),
)
_PRODUCT_SIZE, _PRODUCTS = 512, 4
BACKWARD_AND_FORWARD = 3


def peak_flops(device: torch.device) -> float:
    """Return a device's operations a second; 0 for a GPU that is not in the table."""
    if device.type == "cuda":
        return gpu_peak_flops(torch.cuda.get_device_name(device))
    matrix = torch.ones(_PRODUCT_SIZE, _PRODUCT_SIZE)
    with torch.no_grad():
        seconds = min(_timed_product(matrix) for _ in range(_PRODUCTS))
    return float(2 * _PRODUCT_SIZE**3 / seconds)


def gpu_peak_flops(name: str) -> float:
    """Return the operations a second of a GPU by its name; 0 for one that is not in the table."""
    return _TERA * next((peak for known, peak in _GPU_PEAK_TFLOPS if known in name), 0.0)


@dataclass
class Speedometer:
    """Adds up steps between two readings.

    Attributes:
        flops_per_step: operations of a step's forward and backward on this process.
        samples_per_step: samples of a step over all processes.
        peak: operations a second of this process's device; 0 leaves MFU out.
    """

    flops_per_step: float
    samples_per_step: int
    peak: float
    num_steps: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0

    def add(self, seconds: float, wait_seconds: float) -> None:
        """Count a step."""
        self.num_steps += 1
        self.seconds += seconds
        self.wait_seconds += wait_seconds

    def read(self) -> dict[str, float]:
        """Return what was measured since the last reading, and begin anew."""
        seconds = max(self.seconds, 1e-9)
        values = {
            "steps_per_second": self.num_steps / seconds,
            "samples_per_second": self.num_steps * self.samples_per_step / seconds,
            "data_wait_share": self.wait_seconds / seconds,
        }
        if self.peak and self.flops_per_step:
            values["mfu"] = self.num_steps * self.flops_per_step / seconds / self.peak
        self.num_steps, self.seconds, self.wait_seconds = 0, 0.0, 0.0
        return values


def _timed_product(matrix: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.mm(matrix, matrix)
    return time.perf_counter() - started
