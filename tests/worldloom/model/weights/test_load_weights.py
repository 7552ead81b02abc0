from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from worldloom.errors import ArtifactError
from worldloom.model.weights import load_weights as module
from worldloom.model.weights.load_weights import NameMap, NameRule, Placement, load_weights

MEMORY_PROGRAM = """
import json, re, sys, threading, time
from pathlib import Path

import torch
from torch import nn
from worldloom.model.weights.load_weights import load_weights


def anonymous_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1])


def watch():
    global peak
    while not done.is_set():
        peak = max(peak, anonymous_bytes())
        time.sleep(0.001)


dtype = {"as the file": None, "bfloat16": torch.bfloat16}[sys.argv[2]]
with torch.device("meta"):
    module = nn.Sequential(*(nn.Linear(2048, 1600, bias=False) for _ in range(16)))
before = peak = anonymous_bytes()
done = threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
load_weights(module, Path(sys.argv[1]), dtype=dtype)
total = sum(float(parameter.sum()) for parameter in module.parameters())
done.set()
watcher.join()
size = sum(p.numel() * p.element_size() for p in module.parameters())
print(json.dumps({"grown": max(peak, anonymous_bytes()) - before, "size": size, "sum": total}))
"""


class Small(nn.Module):
    """Two levels, a parameter without gradient, a buffer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(3, 2) for _ in range(11))
        self.scale = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(2))


def small_on_meta() -> Small:
    with torch.device("meta"):
        return Small()


def small_state(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randn(tensor.shape, generator=generator)
        for name, tensor in Small().state_dict().items()
    }
    return state | {"steps": torch.tensor([7])}


def write_sharded(folder: Path, state: dict[str, torch.Tensor], num_shards: int = 3) -> Path:
    """Write tensors in turn to shards, and the index over them."""
    shards: list[dict[str, torch.Tensor]] = [{} for _ in range(num_shards)]
    listed = {}
    for index, (name, tensor) in enumerate(state.items()):
        shards[index % num_shards][name] = tensor
        listed[name] = f"model-{index % num_shards}.safetensors"
    for number, shard in enumerate(shards):
        save_file(shard, folder / f"model-{number}.safetensors")
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": listed}))
    return path


def refusal(module: nn.Module, source, **options) -> str:
    """Return the refusal's message, having seen that nothing was assigned."""
    with pytest.raises(ArtifactError) as caught:
        load_weights(module, source, **options)
    assert all(tensor.is_meta for tensor in module.state_dict().values())
    message = str(caught.value)
    assert "\n" not in message
    assert str(source) in message
    return message


def test_a_sharded_checkpoint_fills_a_module_on_the_meta_device(tmp_path: Path) -> None:
    state = small_state()
    module = small_on_meta()
    done = load_weights(module, write_sharded(tmp_path, state))
    assert set(done.loaded) == set(state)
    assert done.loaded.index("blocks.2.bias") < done.loaded.index("blocks.10.bias")
    assert (done.left, done.unused) == ((), ())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_parameters_and_buffers_stay_what_they_were(tmp_path: Path) -> None:
    module = small_on_meta()
    load_weights(module, write_sharded(tmp_path, small_state()))
    assert {name for name, _ in module.named_buffers()} == {"steps", "mean"}
    assert not module.scale.requires_grad
    assert all(parameter.requires_grad for parameter in module.blocks.parameters())


def test_a_module_on_the_cpu_takes_the_files_tensors_too(tmp_path: Path) -> None:
    state = small_state()
    module = Small()
    load_weights(module, write_sharded(tmp_path, state))
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


def test_every_tensor_that_does_not_fit_is_named_and_nothing_is_assigned(tmp_path: Path) -> None:
    state = small_state()
    del state["blocks.10.weight"], state["blocks.2.weight"], state["mean"]
    state |= {"blocks.11.weight": torch.zeros(1), "alien": torch.zeros(1)}
    state |= {"blocks.0.weight": torch.zeros(3, 2), "scale": torch.zeros(3)}
    state |= {"steps": torch.zeros(1), "blocks.1.bias": torch.zeros(2, dtype=torch.int8)}
    message = refusal(small_on_meta(), write_sharded(tmp_path, state))
    assert "does not fit Small and its 25 tensors" in message
    assert "3 missing: blocks.2.weight, blocks.10.weight, mean;" in message
    assert "2 extra: alien, blocks.11.weight;" in message
    assert "2 misshaped: blocks.0.weight is [3, 2], expected [2, 3] for blocks.0.weight" in message
    assert "scale is [3], expected [2] for scale" in message
    assert "2 mistyped: blocks.1.bias is I8, expected torch.float32 for blocks.1.bias" in message
    assert "steps is F32, expected torch.int64 for steps" in message


@pytest.mark.parametrize("kind", ["missing", "extra", "misshaped", "mistyped"])
def test_one_fault_of_any_kind_is_enough(tmp_path: Path, kind: str) -> None:
    state = small_state()
    if kind == "missing":
        del state["scale"]
    elif kind == "extra":
        state["alien"] = torch.zeros(1)
    else:
        state["scale"] = torch.zeros(3) if kind == "misshaped" else torch.zeros(2).long()
    assert f"1 {kind}: " in refusal(small_on_meta(), write_sharded(tmp_path, state))


def test_two_tensors_for_one_place_are_refused(tmp_path: Path) -> None:
    index = write_sharded(tmp_path, small_state() | {"gain": torch.zeros(2)})
    message = refusal(small_on_meta(), index, rename=NameMap(NameRule("gain", "scale")))
    assert "1 clashing: " in message
    assert "gain" in message
    assert "are both scale" in message


def test_names_are_mapped_by_data_or_by_a_function(tmp_path: Path) -> None:
    state = small_state()
    theirs = {name.replace("blocks", "layers"): tensor for name, tensor in state.items()}
    index = write_sharded(tmp_path, theirs | {"optimizer.step": torch.zeros(1)})
    names = NameMap(NameRule("layers.#.*", "blocks.#.*"), NameRule("optimizer.*", None))

    def function(name: str) -> str | None:
        return None if name.startswith("optimizer") else name.replace("layers", "blocks")

    for rename in (names, function):
        module = small_on_meta()
        assert load_weights(module, index, rename=rename).unused == ("optimizer.step",)
        assert torch.equal(module.blocks[3].weight, state["blocks.3.weight"])


def test_optional_tensors_are_left_and_reported(tmp_path: Path) -> None:
    state = small_state()
    del state["blocks.3.weight"], state["blocks.3.bias"], state["scale"]
    index = write_sharded(tmp_path, state)
    assert "3 missing" in refusal(small_on_meta(), index)
    assert "1 missing: scale" in refusal(small_on_meta(), index, optional=["blocks.#.*"])
    module = Small()
    kept = module.blocks[3].weight.detach().clone()
    done = load_weights(module, index, optional=["blocks.#.*", "scale"])
    assert done.left == ("blocks.3.bias", "blocks.3.weight", "scale")
    assert torch.equal(module.blocks[3].weight, kept)


def test_a_convolution_becomes_a_linear_layer_only_where_the_map_says_so(tmp_path: Path) -> None:
    conv = nn.Conv3d(6, 10, (1, 2, 2), (1, 2, 2))
    path = tmp_path / "conv.safetensors"
    save_file(conv.state_dict(), path)
    with torch.device("meta"):
        linear = nn.Linear(24, 10)
    assert "weight is [10, 6, 1, 2, 2], expected [10, 24]" in refusal(linear, path)
    names = NameMap(NameRule("weight", "weight", is_flattened=True))
    load_weights(linear, path, rename=names)

    video = torch.randn(2, 6, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    patches = video.unfold(3, 2, 2).unfold(4, 2, 2)  # [B, C, T, rows, cols, 2, 2]
    by_linear = linear(patches.permute(0, 2, 3, 4, 1, 5, 6).flatten(4)).permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(by_linear, F.conv3d(video, conv.weight, conv.bias, (1, 2, 2)))


def test_flattening_never_touches_the_first_axis(tmp_path: Path) -> None:
    path = tmp_path / "weight.safetensors"
    save_file({"weight": torch.zeros(24, 10), "bias": torch.zeros(10)}, path)
    with torch.device("meta"):
        linear = nn.Linear(24, 10)

    def rename(name: str) -> Placement:
        return Placement(name, is_flattened=True)

    assert "1 misshaped: weight is [24, 10]" in refusal(linear, path, rename=rename)


def test_only_floating_tensors_are_converted(tmp_path: Path) -> None:
    state = small_state()
    state["blocks.0.weight"] = state["blocks.0.weight"].bfloat16()
    index = write_sharded(tmp_path, state)
    as_is = small_on_meta()
    load_weights(as_is, index)
    assert as_is.blocks[0].weight.dtype == torch.bfloat16
    assert as_is.blocks[1].weight.dtype == torch.float32
    half = small_on_meta()
    load_weights(half, index, dtype=torch.float16)
    kinds = {name: tensor.dtype for name, tensor in half.state_dict().items()}
    assert kinds.pop("steps") == torch.int64
    assert set(kinds.values()) == {torch.float16}


def test_training_does_not_write_to_the_file(tmp_path: Path) -> None:
    index = write_sharded(tmp_path, small_state())
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    module = small_on_meta()
    load_weights(module, index)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


def test_each_tensor_is_read_once(tmp_path: Path, monkeypatch) -> None:
    reads: Counter[str] = Counter()
    opened = module.safe_open

    class Counting:
        def __init__(self, *arguments, **options) -> None:
            self.file = opened(*arguments, **options)

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error) -> None:
            self.file.__exit__(*error)

        def get_tensor(self, name: str) -> torch.Tensor:
            reads[name] += 1
            return self.file.get_tensor(name)

    monkeypatch.setattr(module, "safe_open", Counting)
    state = small_state()
    load_weights(small_on_meta(), write_sharded(tmp_path, state), dtype=torch.bfloat16)
    assert reads == dict.fromkeys(state, 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
def test_weights_are_never_twice_in_memory(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {f"{i}.weight": torch.randn(1600, 2048, generator=generator) for i in range(16)}
    write_sharded(tmp_path, state, num_shards=4)
    expected = sum(float(tensor.sum()) for tensor in state.values())
    del state
    for dtype, most_grown in (("as the file", 0.2), ("bfloat16", 1.2)):
        child = subprocess.run(
            [sys.executable, "-c", MEMORY_PROGRAM, str(tmp_path), dtype],
            capture_output=True,
            text=True,
            check=True,
        )
        seen = json.loads(child.stdout)
        assert seen["size"] == 16 * 1600 * 2048 * (4 if dtype == "as the file" else 2)
        assert seen["grown"] <= most_grown * seen["size"], (dtype, seen)
        assert seen["sum"] == pytest.approx(expected, abs=100)


def test_shared_tensors_are_a_callers_mistake(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    index = write_sharded(tmp_path, module.state_dict())
    module[1].weight = module[0].weight
    with pytest.raises(ValueError, match="shares tensors between names"):
        load_weights(module, index)


def test_a_buffer_that_nothing_fills_is_a_callers_mistake(tmp_path: Path) -> None:
    index = write_sharded(tmp_path, small_state())
    module = small_on_meta()
    module.register_buffer("table", torch.zeros(2, device="meta"), persistent=False)
    with pytest.raises(ValueError, match=r"non-persistent buffers on the meta device \(table\)"):
        load_weights(module, index)
    module.table = torch.zeros(2)
    load_weights(module, index)
