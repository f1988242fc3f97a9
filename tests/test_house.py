"""The three storeys: imports point down, and only the catalog names attacks and defenses."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW = {
    "attacks": set[str](),
    "defenses": set[str](),
    "securefl": {"attacks", "defenses"},
    "benchmarks": {"securefl", "attacks", "defenses"},
}
SOURCES = [path.relative_to(ROOT) for package in BELOW for path in sorted((ROOT / package).rglob("*.py"))]


def imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{source} has a relative import"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_imports_point_down(source: Path) -> None:
    package = source.parts[0]
    ours = {name for name in imported(source) if name in BELOW} - {package}
    allowed = BELOW[package]
    if package == "securefl" and source.name != "catalog.py":
        allowed = set()
    assert ours <= allowed


def test_nothing_imports_torchvision() -> None:
    assert not [source for source in SOURCES if "torchvision" in imported(source)]


@pytest.mark.parametrize(
    "module", ["opacus", "sklearn", "dp_accounting", "jinja2", "rich", "typer", "safetensors", "tenseal", "zstandard"]
)
def test_each_outer_library_has_few_doors(module: str) -> None:
    doors = {str(source) for source in SOURCES if module in imported(source)}
    known = {
        "opacus": {"securefl/training/dp_sgd.py", "securefl/privacy/crosscheck.py"},
        "sklearn": {"securefl/evaluate.py", "securefl/data/digits.py"},
        "dp_accounting": {f"securefl/privacy/{name}.py" for name in ("grids", "optimistic", "clients", "crosscheck")},
        "jinja2": {"securefl/report/__init__.py"},
        "rich": {"securefl/display.py", "benchmarks/progress.py"},
        "typer": {"securefl/cli.py", "securefl/calculator.py", "benchmarks/cli.py"},
        "safetensors": {"securefl/checkpoint.py"},
        "tenseal": {"securefl/channels/ckks/cipher.py", "benchmarks/speed/ckks.py"},
        "zstandard": {"securefl/channels/ckks/wire.py"},
    }
    assert doors == known[module]


def test_every_package_is_listed_for_installation() -> None:
    listed = (ROOT / "pyproject.toml").read_text()
    for folder in {source.parent for source in SOURCES}:
        assert f'"{".".join(folder.parts)}"' in listed


def test_the_engine_stays_readable() -> None:
    assert len((ROOT / "securefl/engine.py").read_text().splitlines()) < 200


def test_no_source_file_outgrows_300_lines() -> None:
    assert not [str(source) for source in SOURCES if len((ROOT / source).read_text().splitlines()) > 300]
