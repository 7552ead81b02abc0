"""Kernels over rows compute their formulas."""

import pytest


@pytest.mark.parametrize("kind", ["update", "activate", "turn"])
def test_kernels_compute_their_formulas(kernel_errors, kind):
    errors = {name: error for name, error in kernel_errors.items() if name.startswith(kind)}
    assert len(errors) > 5
    assert max(errors.values()) < 1e-6, errors
