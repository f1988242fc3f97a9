"""Small files of three sites with words of their own, and scenarios on them."""

import random
from pathlib import Path

COARSE_SCHEMA = """
sites = ["basel", "bern", "chur"]
columns = [{ name = "age", range = [20, 90] }, { name = "st", range = [-3, 7] }]
[label]
column = "finding"
classes = { healthy = ["healthy"], angina = ["angina"], infarct = ["infarct"] }
"""
COARSE_MAP = r"""
[columns.finding]
hierarchy = { angina = "ischaemic", infarct = "ischaemic" }

[columns.finding.sites.basel]
terms = { gesund = "healthy", "Angina pectoris" = "angina", Herzinfarkt = "infarct" }

[columns.finding.sites.bern]
codes = [
  { system = "ICD-10", version = "2019", code = "Z03.5", value = "healthy" },
  { system = "ICD-10", version = "2019", code = "I20.0", value = "angina" },
]
patterns = [{ pattern = 'I21\.\d', value = "infarct" }]

[columns.finding.sites.chur]
terms = { ok = "healthy", ischaemia = "ischaemic" }
"""
WORDS = {
    "basel": ("gesund", "Angina pectoris", "Herzinfarkt"),
    "bern": ("Z03.5", "I20.0", "I21.4"),
    "chur": ("ok", "ischaemia", "ischaemia"),
}
PARTIAL_SCHEMA = """
labels = [{ column = "effusion" }, { column = "mass", positive = ["yes"], negative = ["no"] }]
sites = ["basel", "bern", "chur"]
columns = [{ name = "age", range = [20, 90] }, { name = "st", range = [-3, 7] }]
"""
PARTIAL_MAP = """
not_observed = { chur = ["mass"] }
"""
DATA = """
seed = 1
rounds = 3

[data]
name = "table"
path = "sites/*.csv"
schema = "visits.toml"
crosswalk = "map.toml"
test_share = 0.3
"""
SGD = '[training]\nkind = "sgd"\nbatch = 8\nepochs = 2\nlr = 0.5\n'
DP = """
[training]
kind = "dp_sgd"
batch = 16
epochs = 1
lr = 0.5
[privacy]
epsilon = 8.0
noise = "seeded"
records = [40, 40, 40]
"""
RECORDS = 60  # of each site


def write_coarse(folder: Path) -> None:
    """Writes files whose finding follows from st; one site tells two of three apart."""
    _write(folder, COARSE_SCHEMA, COARSE_MAP)
    for number, (site, words) in enumerate(WORDS.items()):
        draw = random.Random(number)
        lines = ["age,st,finding"]
        for _ in range(RECORDS):
            finding = draw.randrange(3)
            st = (-2, 2, 6)[finding] + draw.uniform(-1, 1)
            lines.append(f"{draw.randint(20, 90)},{st:.2f},{words[finding]}")
        _save(folder, site, lines)


def write_partial(folder: Path) -> None:
    """Writes files with two labels; chur never looked for a mass, and has no column of it."""
    _write(folder, PARTIAL_SCHEMA, PARTIAL_MAP)
    for number, site in enumerate(WORDS):
        draw = random.Random(number)
        lines = ["age,st,effusion" if site == "chur" else "age,st,effusion,mass"]
        for _ in range(RECORDS):
            age, st = draw.randint(20, 90), draw.uniform(-3, 7)
            line = f"{age},{st:.2f},{int(st > 2)}"
            lines.append(line if site == "chur" else f"{line},{'yes' if age > 55 else 'no'}")
        _save(folder, site, lines)


def _write(folder: Path, schema: str, crosswalk: str) -> None:
    (folder / "visits.toml").write_text(schema, encoding="utf-8")
    (folder / "map.toml").write_text(crosswalk, encoding="utf-8")
    (folder / "sites").mkdir()


def _save(folder: Path, site: str, lines: list[str]) -> None:
    (folder / f"sites/{site}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
