"""The code that a step runs, as a digest: every project source that its entry module can reach.

The closure is static: all `import` and `from` statements, those inside functions and
`importlib.import_module("a.constant")` included, those under `if TYPE_CHECKING:` not. Nothing is
imported to find it. Data files and modules named only at run time are not seen: a step that reads
such a thing carries its digest in its config.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from worldloom.config import digest_of

PROJECT_PACKAGES = ("worldloom", "components", "pipelines", "services", "cli")


def code_digest(entry_module: str) -> str:
    """Return `sha256:<hex>` over the names and bytes of all sources an entry module reaches.

    Raises:
        ValueError: if the module is no source of the project.
    """
    return digest_of_files(code_files(entry_module))


def digest_of_files(files: Mapping[str, str]) -> str:
    """Return the code digest of a path-to-hash table that `code_files` returned."""
    return digest_of(dict(files))


def code_files(entry_module: str) -> dict[str, str]:
    """Return each source an entry module reaches as `package/path.py` to SHA-256 of its bytes.

    Raises:
        ValueError: if the module is no source of the project.
    """
    if _source_of(entry_module) is None:
        message = f"module {entry_module!r}: no source of {', '.join(PROJECT_PACKAGES)}"
        raise ValueError(message)
    files: dict[str, str] = {}
    waiting = list(_with_packages(entry_module))
    seen = set(waiting)
    while waiting:
        module = waiting.pop()
        path = _source_of(module)
        if path is None:
            continue
        source = path.read_bytes()
        is_package = path.name == "__init__.py"
        stem = module.replace(".", "/")
        files[f"{stem}/__init__.py" if is_package else f"{stem}.py"] = hashlib.sha256(
            source
        ).hexdigest()
        package = module if is_package else module.rpartition(".")[0]
        for name in _imported_names(source, package):
            for found in _with_packages(name):
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)
    return dict(sorted(files.items()))


def _with_packages(module: str) -> Iterator[str]:
    """Yield `a`, `a.b`, `a.b.c`: importing a module runs the packages that hold it."""
    parts = module.split(".")
    if parts[0] in PROJECT_PACKAGES:
        for end in range(1, len(parts) + 1):
            yield ".".join(parts[:end])


def _source_of(module: str) -> Path | None:
    top, *rest = module.split(".")
    if top not in PROJECT_PACKAGES:
        return None
    spec = importlib.util.find_spec(top)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location).joinpath(*rest)
        if (folder / "__init__.py").is_file():
            return folder / "__init__.py"
        if rest and folder.with_name(f"{rest[-1]}.py").is_file():
            return folder.with_name(f"{rest[-1]}.py")
    return None


@lru_cache(maxsize=4096)
def _imported_names(source: bytes, package: str) -> tuple[str, ...]:
    """Return every dotted name a source imports; names that are no modules do no harm."""
    visitor = _ImportVisitor(package)
    visitor.visit(ast.parse(source))
    return tuple(sorted(visitor.names))


class _ImportVisitor(ast.NodeVisitor):
    def __init__(self, package: str) -> None:
        self.names: set[str] = set()
        self._package = package

    def visit_Import(self, node: ast.Import) -> None:
        self.names.update(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        origin = node.module or ""
        if node.level:
            parts = self._package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1])
            origin = f"{base}.{origin}" if origin else base
        self.names.add(origin)
        self.names.update(f"{origin}.{alias.name}" for alias in node.names)

    def visit_If(self, node: ast.If) -> None:
        if _is_type_checking(node.test):
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else None
        name = node.func.id if isinstance(node.func, ast.Name) else name
        if name == "import_module" and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                self.names.add(argument.value)
        self.generic_visit(node)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else None
    return (test.id if isinstance(test, ast.Name) else name) == "TYPE_CHECKING"
