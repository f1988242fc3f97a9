"""Folders of real sites, from the invitation to a charter, without any process."""

from pathlib import Path

from securefl.runs.deployed.charter import CHARTER, Charter, Shared
from securefl.runs.deployed.federation import admit, found
from securefl.runs.deployed.joining import POLICY, join

DP = """
seed = 1
rounds = 3
data = { name = "heart", partition = "natural" }
training = { kind = "dp_sgd", batch = 64, epochs = 1, lr = 0.5, clip = 1.0 }
privacy = { epsilon = 4.0, noise_multiplier = 3.0, records = [200, 173, 31, 86] }
channel = { kind = "masked", min_cohort = 4 }
"""


def federation(folder: Path, text: str = DP, *, days: float = 30.0) -> Charter:
    """Makes FED and four sites, zero to three, and returns the charter that they are sent."""
    invitation = found(Shared(text=text, overrides=()), ("127.0.0.1", 1), folder / "fed")
    requests = [join(invitation, f"site-{site}", folder / str(site)) for site in range(4)]
    return admit(folder / "fed", requests, days=days, deadline=5.0)


def allow(site: Path, **tables: str) -> None:
    """Replaces tables of a site's policy."""
    path = site / POLICY
    lines = [line for line in path.read_text().splitlines() if line.split(" = ")[0] not in tables]
    lines += [f"{name} = {value}" for name, value in tables.items()]
    path.write_text("\n".join(lines) + "\n")


def charter_file(folder: Path) -> Path:
    """Returns the file of the charter."""
    return folder / "fed" / CHARTER
