"""Layers that read the same rows answer together what each answers alone."""

import torch
from torch import nn

from worldloom.quantize.fp8_linear import Fp8Linear
from worldloom.quantize.linear import Int8Linear
from worldloom.quantize.rows import FP8, INT8, Rows, quantize_rows
from worldloom.rollout.realtime.joint_product import JointProduct


def test_layers_of_every_format_keep_their_order():
    torch.manual_seed(0)
    plain = [nn.Linear(32, width) for width in (16, 48, 32)]
    x = torch.randn(5, 32)
    for kind, row_format in ((None, None), (Int8Linear, INT8), (Fp8Linear, FP8)):
        layers = plain if kind is None else [kind.from_linear(layer) for layer in plain]
        rows = Rows(x) if row_format is None else Rows(*quantize_rows(x, row_format))
        with torch.no_grad():
            found = [one.finished() for one in JointProduct(layers)(rows, torch.float32)]
            for mine, layer in zip(found, plain, strict=True):
                assert (mine - layer(x)).norm() / mine.norm() < 0.05
