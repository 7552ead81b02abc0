from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from worldloom.errors import ArtifactError
from worldloom.model.weights.weight_files import TensorHeader, describe_checkpoint, has_weights

INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-1-of-2.safetensors", "model-2-of-2.safetensors"


def write_sharded(folder: Path) -> Path:
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4)}, folder / FIRST)
    save_file({"c": torch.zeros(5, dtype=torch.bfloat16)}, folder / SECOND)
    return write_index(folder, {"a": FIRST, "b": FIRST, "c": SECOND})


def write_index(folder: Path, weight_map: object) -> Path:
    path = folder / INDEX
    path.write_text(json.dumps({"metadata": {"total_size": 50}, "weight_map": weight_map}))
    return path


def refusal(source) -> str:
    with pytest.raises(ArtifactError) as caught:
        describe_checkpoint(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_index_folder_and_files_describe_the_same(tmp_path: Path) -> None:
    index = write_sharded(tmp_path)
    expected = {
        "a": TensorHeader("a", (2, 3), "F32", tmp_path / FIRST),
        "b": TensorHeader("b", (4,), "F32", tmp_path / FIRST),
        "c": TensorHeader("c", (5,), "BF16", tmp_path / SECOND),
    }
    assert describe_checkpoint(index) == expected
    assert describe_checkpoint(tmp_path) == expected
    assert describe_checkpoint([tmp_path / FIRST, tmp_path / SECOND]) == expected
    index.unlink()
    assert describe_checkpoint(tmp_path) == expected


def test_one_file_is_a_checkpoint(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    assert list(describe_checkpoint(tmp_path / SECOND)) == ["c"]


def test_describing_needs_no_torch(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    program = (
        "import sys; from pathlib import Path\n"
        "from worldloom.model.weights.weight_files import describe_checkpoint\n"
        "assert len(describe_checkpoint(Path(sys.argv[1]))) == 3\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


def test_missing_and_truncated_shards_are_both_named(tmp_path: Path) -> None:
    index = write_sharded(tmp_path)
    (tmp_path / FIRST).unlink()
    whole = (tmp_path / SECOND).read_bytes()
    (tmp_path / SECOND).write_bytes(whole[:-3])
    message = refusal(index)
    assert str(index) in message
    assert f"2 of 2 files cannot be read ({FIRST} is missing; {SECOND} is truncated" in message


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "truncated or no safetensors" in refusal(path)
    assert "is missing" in refusal(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".pkl"])
def test_pickles_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"models_t5{suffix}"
    torch.save({"a": torch.zeros(1)}, path)
    for source in (path, [path], write_index(tmp_path, {"a": path.name})):
        message = refusal(source)
        assert f"{path.name} would be unpickled" in message
        assert "expected .safetensors" in message
    (tmp_path / INDEX).unlink()
    assert f"pickles ({path.name}) are not loaded" in refusal(tmp_path)


def test_an_empty_folder_and_two_checkpoints_in_one_are_refused(tmp_path: Path) -> None:
    assert "no weights here, expected *.safetensors.index.json" in refusal(tmp_path)
    index = write_sharded(tmp_path)
    (tmp_path / f"other-{INDEX}").write_text(index.read_text())
    assert f"holds 2 checkpoints ({INDEX}, other-{INDEX})" in refusal(tmp_path)


def test_a_name_in_two_files_is_refused(tmp_path: Path) -> None:
    index = write_sharded(tmp_path)
    save_file({"c": torch.zeros(5), "a": torch.zeros(2, 3)}, tmp_path / SECOND)
    assert f"in two are: a ({FIRST}, {SECOND})" in refusal(index)
    assert f"in two are: a ({FIRST}, {SECOND})" in refusal([tmp_path / FIRST, tmp_path / SECOND])


def test_an_index_that_the_files_contradict_is_refused(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    index = write_index(tmp_path, {"a": SECOND, "c": SECOND, "d": FIRST})
    message = refusal(index)
    assert f"2 not in the file that the index names: a ({SECOND}), d ({FIRST})" in message
    assert f"1 not in the index: b ({FIRST})" in message


@pytest.mark.parametrize(
    "weight_map",
    [{}, [], None, {"a": 3}, {"a": "../model.safetensors"}, {"a": ".."}, {"a": "x/y"}],
)
def test_an_index_that_names_no_files_beside_it_is_refused(tmp_path: Path, weight_map) -> None:
    assert "weight_map must give the name of a file" in refusal(write_index(tmp_path, weight_map))


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / INDEX
    path.write_text(text)
    assert "not a readable index" in refusal(path)
    path.unlink()
    assert "not a readable index" in refusal(path)


def test_no_file_at_all_is_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="no file given"):
        describe_checkpoint([])


def test_a_folder_has_weights_by_its_index_or_its_files(tmp_path: Path) -> None:
    assert not has_weights(tmp_path)
    write_index(tmp_path, {"a": FIRST})
    assert has_weights(tmp_path)
