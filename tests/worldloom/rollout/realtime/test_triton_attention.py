"""Our attention kernel is attention: at whole and part tiles, masked and not."""


def test_the_kernel_is_attention(kernel_errors):
    errors = {name: error for name, error in kernel_errors.items() if name.startswith("attention")}
    assert len(errors) == 6
    assert max(errors.values()) < 1e-6, errors


def test_values_are_laid_tokens_last_and_finished_on_the_way(kernel_errors):
    errors = {name: error for name, error in kernel_errors.items() if name.startswith("transpose")}
    assert len(errors) == 4
    assert max(errors.values()) < 1e-6, errors
