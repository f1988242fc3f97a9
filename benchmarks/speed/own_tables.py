"""Reading a table: CPU seconds, and peak memory next to the float32 arrays that come out.

    OMP_NUM_THREADS=1 nice -n 10 python -m benchmarks.speed.own_tables --rows 1000000 --columns 20

Of the columns, 16 in 20 are numbers; the others are a binary one, one of four levels, the site and
the label. Each reading has a fresh process. It reads a table of ten rows before it counts, so that
the libraries are loaded. Medians of three.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from securefl.data.own.schema import Schema
from securefl.data.own.table import TableSource

REPEATS = 3
WARM_UP_ROWS = 10
OTHER_COLUMNS = 4
MIN_COLUMNS = OTHER_COLUMNS + 1
SITES = ("north", "south", "east", "west")


class Reading(NamedTuple):
    """One reading: CPU seconds, and the growth of the peak over the arrays' bytes."""

    seconds: float
    memory: float


def schema(columns: int) -> Schema:
    """Returns the schema of the table that `write` writes."""
    numbers = [
        {"name": f"x{index}", "range": [0, 100], "missing": {"constant": 50}}
        for index in range(columns - OTHER_COLUMNS)
    ]
    others = [{"name": "sex", "binary": True}, {"name": "cp", "levels": [1, 2, 3, 4]}]
    return Schema.model_validate(
        {
            "label": {"column": "y", "classes": [[0], [1]]},
            "site": "site",
            "sites": list(SITES),
            "columns": [*numbers, *others],
        }
    )


def write(folder: Path, rows: int, columns: int) -> None:
    """Writes the table as CSV and as Parquet."""
    rng = np.random.default_rng(0)
    table: dict[str, NDArray[np.generic]] = {
        f"x{index}": np.round(rng.normal(50, 20, rows), 2)
        for index in range(columns - OTHER_COLUMNS)
    }
    table["sex"] = rng.integers(0, 2, rows)
    table["cp"] = rng.integers(1, 5, rows)
    table["site"] = np.array(SITES)[rng.integers(0, len(SITES), rows)]
    table["y"] = rng.integers(0, 2, rows)
    pyarrow.csv.write_csv(pyarrow.table(table), folder / "table.csv")
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "table.parquet")


def memory_bytes(kind: str) -> int:
    """Returns this process's memory now ("VmRSS") or at its peak ("VmHWM"); on Linux."""
    # Not resource.getrusage: its peak is also that of the process that started this one.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"this system does not tell {kind}")


def read(path: Path, columns: int) -> Reading:
    """Reads a table in this process."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), WARM_UP_ROWS, columns)
        TableSource(Path(name, path.name), schema(columns)).read(claim=True)
    source = TableSource(path, schema(columns))
    before = memory_bytes("VmRSS")
    start = time.process_time()
    records = source.read(claim=True)
    seconds = time.process_time() - start
    features = records.train.examples.features
    growth = memory_bytes("VmHWM") - before
    return Reading(seconds, growth / (features.numel() * features.itemsize))


def read_afresh(path: Path, columns: int) -> Reading:
    """Reads a table in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed.own_tables"]
    command += ["--read", str(path), "--columns", str(columns)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return Reading(*json.loads(done.stdout))


def main() -> None:
    """Prints one line for each format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.columns < MIN_COLUMNS:
        parser.error(f"--columns is at least {MIN_COLUMNS}")
    if options.read:
        print(json.dumps(read(options.read, options.columns)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.rows, options.columns)
        for file in ("table.csv", "table.parquet"):
            readings = [read_afresh(folder / file, options.columns) for _ in range(REPEATS)]
            seconds = statistics.median(reading.seconds for reading in readings)
            memory = statistics.median(reading.memory for reading in readings)
            print(f"{file}: {seconds:.2f} CPU seconds, {memory:.2f} x the arrays' memory")


if __name__ == "__main__":
    main()
