"""Shape annotations: that public tensors have them, and that they are checked under the hook."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import jaxtyping
import pytest
import torch

from worldloom.camera import Intrinsics
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import Geometry

ROOT = Path(__file__).parents[2]
ROOMS = ("model", "memory", "diffusion", "rollout")
MODULES = ("arrays", "camera", "actions")
SHAPED = {name for name in dir(jaxtyping) if hasattr(getattr(jaxtyping, name), "dtypes")} | {
    "Float",
    "Int",
    "Bool",
    "Shaped",
    "Real",
    "UInt8",
}
BARE = {"Tensor", "ndarray", "NDArray"}


@cache
def sources():
    paths = [path for room in ROOMS for path in (ROOT / "worldloom" / room).rglob("*.py")]
    paths += [ROOT / "worldloom" / f"{name}.py" for name in MODULES]
    return {path: ast.parse(path.read_text()) for path in sorted(paths)}


@cache
def bare_aliases():
    """Names that stand for a tensor without a shape, wherever they are said."""
    names = set(BARE)
    while True:
        found = {
            target.id
            for tree in sources().values()
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.Name)
            for target in node.targets
            if isinstance(target, ast.Name) and is_bare(node.value, names)
        }
        if found <= names:
            return frozenset(names)
        names |= found


def is_bare(node, names):
    """Tell whether an annotation holds a tensor that is not inside a jaxtyping one."""
    if node is None:
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value in names
    if isinstance(node, ast.Subscript) and last_name(node.value) in SHAPED:
        return not isinstance(ast.literal_eval(node.slice.elts[1]), str)
    if isinstance(node, ast.Name | ast.Attribute):
        return last_name(node) in names
    return any(is_bare(child, names) for child in ast.iter_child_nodes(node))


def last_name(node):
    return ast.unparse(node).rsplit(".", 1)[-1]


def public_functions(node, prefix=""):
    """Yield (name, function) of a module's public functions and public classes' methods."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child, f"{prefix}{child.name}.")
        is_function = isinstance(child, ast.FunctionDef)
        if is_function and (not child.name.startswith("_") or child.name == "__init__"):
            yield prefix + child.name, child


def annotations(function):
    args = function.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return [*((arg.arg, arg.annotation) for arg in every if arg), ("return", function.returns)]


def unshaped(path):
    return [
        f"{path.relative_to(ROOT)}: {name}: {argument}: {ast.unparse(annotation)}"
        for name, function in public_functions(sources()[path])
        for argument, annotation in annotations(function)
        if is_bare(annotation, bare_aliases())
    ]


@pytest.mark.slow
def test_public_tensors_say_their_shapes():
    found = [line for path in sources() for line in unshaped(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Tensor", True),
        ("tuple[int, torch.Tensor]", True),
        ("FloatArray | None", True),
        ("Callable[[Tensor], None]", True),
        ("Float[Tensor, ...]", True),  # no annotation at all: jaxtyping reads text alone
        ('"Tensor"', True),
        ('Float[Tensor, "B C"]', False),
        ('list[Float[Tensor, "B C"]] | None', False),
        ("dict[str, int]", False),
    ],
)
def test_a_tensor_without_a_shape_is_found_wherever_it_stands(annotation, expected):
    assert is_bare(ast.parse(annotation, mode="eval").body, bare_aliases()) == expected


# The least that goes through most of the core: both layouts denoise, commit and answer.
UNDER_THE_HOOK = """
from golden_forward import LAYOUTS, small_transformer, small_velocity

def test_right_shapes_pass():
    for config in LAYOUTS.values():
        small_velocity(small_transformer(config))

def test_a_wrong_shape_fails():
    transformer = small_transformer(LAYOUTS["reference"])
    with pytest.raises(jaxtyping.TypeCheckError, match="lattice_coordinates"):
        geometry.lattice_coordinates(torch.zeros(3, dtype=torch.long))
    with pytest.raises(jaxtyping.TypeCheckError, match="lattice_coordinates"):
        geometry.lattice_coordinates(torch.zeros(1, 3))  # numbers, but not whole ones
    with pytest.raises(jaxtyping.TypeCheckError, match="rotate"):
        rotate(torch.zeros(1, 5, 2, 8), (torch.zeros(1, 4, 2, 4), torch.zeros(1, 4, 2, 4)))
    with pytest.raises(jaxtyping.TypeCheckError, match="denoise"):
        transformer.denoise(torch.zeros(1, 4, 5, 4, 6), torch.zeros(1, 3), None)
"""
HEADER = """
import jaxtyping
import pytest
import torch

from worldloom.camera import Intrinsics
from worldloom.model.geometry import Geometry
from worldloom.model.rope import rotate
from worldloom.model.transformer import WorldModelTransformer
"""


def run_with(tmp_path, *options):
    """Run the little test above in a process of its own; return what pytest says."""
    test = tmp_path / "test_hook.py"
    geometry = 'geometry = Geometry(LAYOUTS["reference"], Intrinsics.reference(32, 48))\n'
    head, _, rest = UNDER_THE_HOOK.partition("\n\n")
    test.write_text(HEADER + head + "\n" + geometry + rest)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(test)]
    paths = [
        str(ROOT),
        str(ROOT / "tests" / "worldloom" / "model"),
        os.environ.get("PYTHONPATH", ""),
    ]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_wrong_shapes_fail_under_the_hook_and_right_ones_pass(tmp_path):
    checked = run_with(tmp_path, "--jaxtyping-packages=worldloom,beartype.beartype")
    assert "2 passed" in checked.stdout, checked.stdout[-3000:] + checked.stderr[-1000:]


@pytest.mark.skipif(
    hasattr(Geometry.lattice_coordinates, "__wrapped__"), reason="the hook was asked for"
)
def test_without_the_hook_nobody_pays():
    """A tensor that fails under the hook is no error where the hook is not asked for."""
    geometry = Geometry(TransformerConfig(layout="reference"), Intrinsics.reference(32, 48))
    assert geometry.lattice_coordinates(torch.zeros(1, 3)).shape[-1] == 3
