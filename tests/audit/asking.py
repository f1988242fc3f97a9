"""Small scenarios to audit, and how the tests of this folder ask for an audit of them."""

from collections.abc import Callable
from pathlib import Path

from securefl.audit.audit import audit
from securefl.audit.findings import Findings
from securefl.audit.request import AuditRequest

SGD = """
rounds = 2
weights = "equal"
data = { name = "digits", partition = "iid", clients = 4 }
model = { name = "mlp", hidden = [16] }
training = { kind = "sgd", batch = 32, lr = 0.3 }
"""
DP = """
rounds = 4
weights = "equal"
data = { name = "digits", partition = "iid", clients = 3 }
model = { name = "mlp", hidden = [100] }
training = { kind = "dp_sgd", batch = 42, lr = 0.5 }
privacy = { epsilon = 4.0, noise = "seeded", records = [419, 419, 419] }
"""
ONE_CLIENT = ("data.only=0", "privacy.records=[419]")  # of DP, whose updates are seen alone


def write_scenarios(folder: Path) -> None:
    """Puts both scenarios into a folder, as sgd.toml and dp.toml."""
    (folder / "sgd.toml").write_text(SGD)
    (folder / "dp.toml").write_text(DP)


def request_for(
    path: str,
    adversary: str,
    *overrides: str,
    shadows: int = 0,
    colluders: int = 1,
    target: int = 0,
    folder: Path | None = None,
    exposure: bool = False,
) -> AuditRequest:
    """The request that a command line of these options makes."""
    return AuditRequest(
        Path(path),
        overrides,
        adversary,
        colluders,
        target,
        shadows,
        seed=0,
        jobs=2,
        folder=folder,
        exposure=exposure,
    )


def findings_of(request: AuditRequest, say: Callable[[str], None] = lambda text: None) -> Findings:
    """What the one adversary of a request learned."""
    (findings,) = audit(request, say=say, on_round=lambda label, record: None).values()
    return findings
