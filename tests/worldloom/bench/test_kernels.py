"""Kernels by what they do, from their names."""

from __future__ import annotations

import pytest

from worldloom.bench.kernels import kernel_table, kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16", "attention"),
        ("fmha_cutlassB_bf16_aligned_64x64_k32_sm80(Params)", "attention"),
        ("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNT", "matrix products"),
        ("triton_poi_fused__to_copy_add_mul_7", "fused passes over tokens"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdam>", "optimiser, clipping, averages"),
        ("Memcpy HtoD (Pinned -> Device)", "copies and fills"),
        ("void at::native::reduce_kernel<512, 1>", "the rest"),
    ],
)
def test_a_name_says_what_a_kernel_does(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_kinds_are_told_with_their_share_and_largest_kernel() -> None:
    table = kernel_table({"nvjet_a": 6.0, "triton_b": 3.0, "nvjet_c": 1.0, "vectorized|x": 2.0})
    assert table.rows == (
        ("matrix products", "7", "58.3%", "nvjet_a (6 ms)"),
        ("fused passes over tokens", "3", "25.0%", "triton_b (3 ms)"),
        ("the rest", "2", "16.7%", "vectorized/x (2 ms)"),
        ("all", "12", "100%", "4 kernels"),
    )
