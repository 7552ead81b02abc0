"""A stored transformer comes back with its shapes, and damage is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from worldloom.errors import ArtifactError, ConfigError
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.quantize.convert import QuantizeLinearsConfig, quantize_linears
from worldloom.rollout.config import SamplerConfig
from worldloom.train.checkpoint import same_tensors
from worldloom.train.model_checkpoint import load_model, save_model

TINY = TransformerConfig(
    latent_height=4, latent_width=4, dim=32, num_blocks=1, num_heads=2, ffn_dim=32, text_dim=16
)
SAMPLER = SamplerConfig(sigmas=(1.0, 0.25), solver="euler")


def transformer() -> WorldModelTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WorldModelTransformer(TINY)


def save(folder: Path, model: WorldModelTransformer, dtype: torch.dtype = torch.float32) -> None:
    save_model(folder, model, sampler=SAMPLER, retrieval=RetrievalConfig(), dtype=dtype)


def test_weights_shapes_and_sampler_come_back(tmp_path: Path) -> None:
    model = transformer()
    save(tmp_path, model)
    before = torch.get_rng_state()
    again, known = load_model(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert same_tensors(again.state_dict(), model.state_dict())
    assert (known.transformer, known.sampler) == (TINY, SAMPLER)


def test_half_precision_file_loads_as_fp32(tmp_path: Path) -> None:
    save(tmp_path, transformer(), torch.float16)
    again, _ = load_model(tmp_path)
    assert {value.dtype for value in again.parameters()} == {torch.float32}


def test_int8_layers_come_back_as_int8(tmp_path: Path) -> None:
    model = transformer()
    quantize_linears(model, QuantizeLinearsConfig())
    save(tmp_path, model)
    again, _ = load_model(tmp_path)
    assert same_tensors(again.state_dict(), model.state_dict())


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"transformer\.json: missing"):
        load_model(tmp_path)
    save(tmp_path, transformer())
    weights = tmp_path / "transformer.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"transformer\.safetensors: cannot be read"):
        load_model(tmp_path)
    (tmp_path / "transformer.json").write_text('{"dim": 3}')
    with pytest.raises(ConfigError, match=r"transformer\.json"):
        load_model(tmp_path)


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    save(tmp_path, transformer())
    config = tmp_path / "transformer.json"
    config.write_text(config.read_text().replace('"ffn_dim": 32', '"ffn_dim": 64'))
    with pytest.raises(ArtifactError, match="do not fit"):
        load_model(tmp_path)
