import pytest
import torch
from tiny import CONFIG, tiny_reference_model

from worldloom.bench.model import ModelBenchConfig, measure_model, random_transformer
from worldloom.model.cost.footprint import footprint

CPU = torch.device("cpu")
QUICK = ModelBenchConfig(num_samples=2, num_warmup=1)


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        (CONFIG, ["prepare", "denoise", "commit"]),
        (tiny_reference_model().transformer.config, ["prepare", "denoise"]),
    ],
)
def test_each_pass_is_timed_beside_its_own_count_of_operations(shape, names):
    found = measure_model(QUICK, shape, CPU, "a command")
    assert [row.name for row in found.measurements] == names
    assert all(row.num_samples == 2 and row.median > 0 for row in found.measurements)
    flops = footprint(shape).flops_by_pass.evaluation / 1e12
    [told] = [note for note in found.notes if note.startswith("denoise")]
    assert told.startswith(f"denoise: {flops:.4g} TFLOP")
    assert found.bars == ()  # memory is a GPU's to compare


def test_random_weights_are_a_seeds_and_every_layer_answers():
    one, same, other = (
        random_transformer(CONFIG, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    for (name, a), b, c in zip(
        one.named_parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert a.dtype == torch.bfloat16
        assert torch.equal(a, b), name
        assert a.ndim < 2 or not torch.equal(a, c), name
    assert one.rope.frequencies.table.any()
