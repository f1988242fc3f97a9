"""A run that goes on from the last model of another: the same sites and keys, a new charter.

Its cost adds up with that of earlier runs, in the ledger of each site's data set.
"""

import datetime
from pathlib import Path

from securefl import vector
from securefl.errors import RunFolderError, ScenarioError
from securefl.files import write_atomic
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.claims import check_claim, check_places
from securefl.runs.deployed.certificates import CA_CERTIFICATE, TLS_CERTIFICATE, Authority
from securefl.runs.deployed.charter import CHARTER, Charter, Shared, chartered
from securefl.runs.deployed.documents import utc_now
from securefl.runs.deployed.federation import charter_in, made_private, validity
from securefl.runs.deployed.first_model import FIRST_MODEL, from_first_model
from securefl.runs.deployed.invitation import INVITATION
from securefl.runs.deployed.keys import AUTHORITY_KEY, SIGNING_KEY, TLS_KEY, check_private
from securefl.runs.deployed.receipts import RECEIPTS
from securefl.scenario.assemble.public import public_parts
from securefl.scenario.scenario import Scenario

_SECRET = (AUTHORITY_KEY, SIGNING_KEY, TLS_KEY)
_PUBLIC = (CA_CERTIFICATE, TLS_CERTIFICATE, INVITATION)


def refine(folder: Path, shared: Shared, out: Path, *, days: float) -> Charter:
    """Makes the coordinator's folder of a run that refines the last model of another.

    Raises:
        RunFolderError: the earlier run has not ended, or its folder is damaged.
        ScenarioError: the scenario does not run between sites, or has other sites or another
            model; or its claim would rest on training that claimed none, or less; or `out` exists.
    """
    check_private(folder)
    before = charter_in(folder)
    cell = Cell(folder)
    if before is None or not cell.status().state.ended or not cell.checkpoint.exists():
        raise RunFolderError(f"the run of {folder} has no last model yet: start it first")
    scenario = shared.scenario()
    if scenario.clients != len(before.roster):
        raise ScenarioError(
            f"the scenario has {scenario.clients} sites, the earlier run {len(before.roster)}"
        )
    _check_claims(scenario, before.shared, folder)
    public = public_parts(scenario, run="")
    weights = vector.to_vector(public.model)
    if not load_checkpoint(cell.checkpoint).fits(weights, vector.shapes(public.model)):
        raise ScenarioError("the scenario has another model than the earlier run")
    with made_private(out):
        for name in (*_SECRET, *_PUBLIC):
            write_atomic(out / name, (folder / name).read_bytes(), secret=name in _SECRET)
        # They hold across runs: without them a site could be restored from before the earlier one.
        if (folder / RECEIPTS).exists():
            write_atomic(out / RECEIPTS, (folder / RECEIPTS).read_bytes())
        write_atomic(out / FIRST_MODEL, cell.checkpoint.read_bytes())
        charter = chartered(
            from_first_model(out, public_parts(scenario, run=Cell(out).open())),
            shared,
            server=before.server,
            roster=before.roster,
            address=(before.host, before.port),
            valid=validity(Authority.read(out), utc_now(), datetime.timedelta(days=days)),
            deadline=before.deadline,
            origin=f"sha256:{before.digest.hex()}",
        )
        charter.write(out / CHARTER)
    return charter


def _check_claims(scenario: Scenario, before: Shared, folder: Path) -> None:
    """Refuses a claim that the earlier run does not cover, as `init_from` does.

    Its cost adds up in the ledgers of sites, which the coordinator does not see.
    """
    if scenario.claims_dp:
        name = f"the run of {folder}"
        earlier = before.scenario().resolved()
        check_claim(scenario, earlier, name, ("unit", "delta"))
        check_places(scenario, earlier, name)
