"""The kernel over a segment's latents computes its formula, on both of its ways."""


def test_the_kernel_computes_its_formula(kernel_errors):
    errors = {name: error for name, error in kernel_errors.items() if name.startswith("time")}
    assert set(errors) == {f"time {n} {seen}" for n in (3, 17) for seen in ("own", "shared")}
    assert max(errors.values()) < 1e-6, errors
