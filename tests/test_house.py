"""The house: imports point down, from package to package and from room to room."""

import ast
import importlib
from functools import cache
from pathlib import Path

import pytest

from tests.paths import ROOT

BELOW = {
    "attacks": set[str](),
    "defenses": set[str](),
    "securefl": {"attacks", "defenses"},
    "benchmarks": {"securefl", "attacks", "defenses"},
    "website": set(),
}
HALL = {"errors", "messages", "rng", "vector", "files", "_door"}
ROOMS = [
    "privacy",
    "data",
    "channels",
    "learning",
    "federation",
    "scenario",
    "testing",
    "runs",
    "audit",
    "studies",
    "ui",
]
ALLOWED = {room: HALL | set(ROOMS[: height + 1]) for height, room in enumerate(ROOMS)}
SOURCES = [
    path.relative_to(ROOT) for package in BELOW for path in sorted((ROOT / package).rglob("*.py"))
]


@cache
def imported(source: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{source} has a relative import"
            names.add((node.module or "").split(".")[0])
    return frozenset(names)


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_imports_point_down(source: Path) -> None:
    package = source.parts[0]
    ours = {name for name in imported(source) if name in BELOW} - {package}
    allowed = BELOW[package]
    if package == "securefl" and source.parts[1] != "audit" and source.name != "catalog.py":
        allowed = set()
    assert ours <= allowed


def rooms_imported_by(source: Path) -> set[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("securefl.")}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    for source in (ROOT / "securefl" / room).rglob("*.py"):
        assert rooms_imported_by(source) <= ALLOWED[room], source


def test_the_top_of_the_package_is_the_hall_and_the_rooms() -> None:
    top = {
        path.stem for path in (ROOT / "securefl").iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert top - {"__init__", "__pycache__"} == HALL | set(ROOMS)


@pytest.mark.parametrize(
    "package", ["securefl", *(f"securefl.{room}" for room in ROOMS if room != "ui")]
)
def test_a_door_exports_what_it_says_and_no_more_than_sixteen_names(package: str) -> None:
    door = importlib.import_module(package)
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: str(node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == door._HOMES
    assert sorted(door.__all__) == sorted(typed)
    assert len(typed) <= 16
    assert all(
        getattr(door, name) is getattr(importlib.import_module(home), name)
        for name, home in typed.items()
    )
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        _ = door.nonsense


@pytest.mark.parametrize(
    "source",
    [
        path
        for path in SOURCES
        # Programs of other environments.
        if path.parts[:2] != ("benchmarks", "speed") and path.name != "relay.py"
    ],
    ids=str,
)
def test_every_module_is_imported_by_itself(source: Path) -> None:
    """Also the names that it takes from a door, which no type checker looks for."""
    importlib.import_module(".".join(source.with_suffix("").parts).removesuffix(".__init__"))
    for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in BELOW:
            for alias in node.names:
                if not hasattr(importlib.import_module(str(node.module)), alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_nothing_imports_torchvision() -> None:
    assert not [source for source in SOURCES if "torchvision" in imported(source)]


@pytest.mark.parametrize(
    "module",
    [
        "opacus",
        "sklearn",
        "dp_accounting",
        "flwr",
        "jinja2",
        "rich",
        "typer",
        "matplotlib",
        "pyarrow",
        "pydicom",
        "ray",
        "safetensors",
        "tenseal",
        "uvicorn",
        "zstandard",
    ],
)
def test_each_outer_library_has_few_doors(module: str) -> None:
    doors = {str(source) for source in SOURCES if module in imported(source)}
    known = {
        "opacus": {
            "securefl/audit/reference.py",
            "securefl/learning/dp_models.py",
            "securefl/learning/clipping/places.py",
            "securefl/learning/clipping/recorder.py",
            "securefl/learning/dp_sgd.py",
            "securefl/privacy/accounting/crosscheck.py",
            "benchmarks/speed/clipping.py",
            "benchmarks/speed/engine.py",
            "benchmarks/speed/peer_flower.py",
        },
        "sklearn": {"benchmarks/experiments/combat.py"},
        "dp_accounting": {
            f"securefl/privacy/accounting/{name}.py"
            for name in ("grids", "optimistic", "clients", "crosscheck", "dots")
        },
        "flwr": {
            "securefl/runs/flower/relay/relay.py",
            *(
                f"benchmarks/speed/{name}.py"
                for name in (
                    "flower_secagg",
                    "peer_flower",
                    "peer_flower_deployed/fedavg",
                    "peer_rules",
                )
            ),
        },
        "uvicorn": {"securefl/runs/flower/gate.py"},
        "jinja2": {"securefl/ui/report/__init__.py"},
        "rich": {"securefl/ui/live.py"},
        "typer": {
            "securefl/ui/cli.py",
            "securefl/ui/page.py",
            *(
                f"securefl/ui/commands/{name}.py"
                for name in (
                    *(
                        "audits",
                        "coordinate",
                        "data",
                        "deploy",
                        "keys",
                        "labels",
                        "lists",
                        "site",
                        "options",
                        "plugins",
                        "privacy",
                        "releases",
                        "runs",
                        "versions",
                    ),
                    "studies",
                )
            ),
        },
        "matplotlib": {"securefl/ui/figures.py", "securefl/ui/report/figures/drawing.py"},
        "pyarrow": {"securefl/data/own/arrow.py", "benchmarks/speed/own_tables.py"},
        "pydicom": {"securefl/data/dicom/reading.py", "benchmarks/speed/dicom.py"},
        "ray": {"securefl/runs/cluster/ray.py"},
        "safetensors": {
            "securefl/runs/checkpoint.py",
            "securefl/learning/weights.py",
            "securefl/learning/algorithms/kept.py",
        },
        "tenseal": {"securefl/channels/ckks/cipher.py", "benchmarks/speed/ckks.py"},
        "zstandard": {"securefl/channels/ckks/wire.py"},
    }
    assert doors == known[module], f"only the files listed here may import {module}"


def test_every_package_is_listed_for_installation() -> None:
    listed = (ROOT / "pyproject.toml").read_text()
    for folder in {source.parent for source in SOURCES if source.parts[0] != "benchmarks"}:
        assert f'"{".".join(folder.parts)}"' in listed


def test_the_engine_stays_readable() -> None:
    assert len((ROOT / "securefl/federation/engine.py").read_text().splitlines()) < 200


def test_no_source_file_outgrows_300_lines() -> None:
    long = {
        str(source) for source in SOURCES if len((ROOT / source).read_text().splitlines()) > 300
    }
    assert not long
