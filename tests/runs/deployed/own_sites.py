"""Small files of four sites' own records, and scenarios on them."""

import random
from pathlib import Path
from typing import Any

import numpy as np

SITES = ("bern", "chur", "sion", "wil")
RECORDS = 40  # of each site
SCHEMA = """
label = { column = "ill", classes = { no = [0], yes = [1, 2] } }
sites = ["bern", "chur", "sion", "wil"]
group = "patient"
columns = [
  { name = "age", range = [20, 90] },
  { name = "sex", binary = true, missing = "drop" },
  { name = "pain", levels = ["mild", "strong"], other = true },
]
"""
ARRAYS = """
features = 4
num_classes = 3
sites = ["bern", "chur", "sion", "wil"]
splits = ["train", "validation", "test"]
"""
TABLE_DATA = (
    'data = { name = "table", schema = "visits.toml", path = "sites/*.csv", test_share = 0.3'
)
ARRAYS_DATA = 'data = { name = "arrays", schema = "rows.toml", path = "sites/*.npz"'
SGD = """
seed = 1
rounds = 2
training = { kind = "sgd", batch = 16, epochs = 1, lr = 0.5 }
"""
DP = """
seed = 1
rounds = 2
training = { kind = "dp_sgd", batch = 16, epochs = 1, lr = 0.5, clip = 1.0 }
privacy = { epsilon = 8.0, noise_multiplier = 2.0, noise = "seeded", records = [30, 28, 26, 30] }
"""
MASKED = 'channel = { kind = "masked", min_cohort = 3 }\n'


def table_text(more: str = SGD, *, keys: str = "") -> str:
    """Returns a scenario on the tables, with further keys of its table [data]."""
    return f"{TABLE_DATA}{keys} }}\n{more}"


def arrays_text(more: str = SGD, *, keys: str = "") -> str:
    """Returns a scenario on the arrays, with further keys of its table [data]."""
    return f"{ARRAYS_DATA}{keys} }}\n{more}"


def write_tables(folder: Path) -> None:
    """Writes a schema and one CSV file a site; three visits a patient."""
    (folder / "visits.toml").write_text(SCHEMA, encoding="utf-8")
    (folder / "sites").mkdir(exist_ok=True)
    for number, site in enumerate(SITES):
        draw = random.Random(number)
        lines = ["patient,age,sex,pain,ill,note"]
        for record in range(RECORDS):
            age = draw.randint(20, 90)
            pain = draw.choice(["mild", "strong", "odd"])
            ill = draw.choice([0, 0, 1, 2])
            lines.append(f"{site}-{record // 3},{age},{draw.randint(0, 1)},{pain},{ill},secret")
        (folder / f"sites/{site}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_arrays(folder: Path) -> None:
    """Writes a schema and one .npz file a site."""
    (folder / "rows.toml").write_text(ARRAYS, encoding="utf-8")
    (folder / "sites").mkdir(exist_ok=True)
    for number, site in enumerate(SITES):
        draw = np.random.default_rng(number)
        values: dict[str, Any] = {}
        for split, records in (("train", 30), ("val", 10), ("test", 12)):
            labels = np.arange(records) % 3
            rows = draw.normal(size=(records, 4)) + labels[:, None]
            values |= {f"{split}_features": rows.astype(np.float32), f"{split}_labels": labels}
        np.savez(folder / f"sites/{site}.npz", **values)
