"""A site joins: it makes its keys and its request, and gets templates of what it alone decides."""

from pathlib import Path

from securefl.errors import ScenarioError
from securefl.federation.policy_text import STRICT
from securefl.files import disk_errors, write_atomic
from securefl.runs.deployed.certificates import CA_CERTIFICATE
from securefl.runs.deployed.documents import Name, is_valid
from securefl.runs.deployed.federation import made_private
from securefl.runs.deployed.invitation import INVITATION, Invitation, JoinRequest
from securefl.runs.deployed.keys import (
    NODE_KEY,
    SIGNING_KEY,
    check_private,
    make_node_key,
    make_signing_key,
    node_key,
    node_public,
    signing_key,
)
from securefl.runs.deployed.own_records import SITE

REQUEST = "request.json"
POLICY = "policy.toml"

SITE_TEMPLATE = """\
# What this site keeps to itself: nothing in this file leaves the machine.

# A second copy of the newest receipt, on another volume: shows a folder restored from a backup.
# witness = "/mnt/other/receipt.json"

# A folder for the ledgers of data sets that other folders of this site train on, too.
# ledger = "/srv/securefl/ledger"

# The account that Flower's processes run as.
# relay_user = "flower"
{data}"""
OWN_DATA = """
# The site's own records; see docs/deploy.md.
[data]
# path = "records.csv"
"""


def make_keys(folder: Path, passphrase: bytes | None = None) -> None:
    """Makes a folder with an Ed25519 and a P-384 key. Raises ScenarioError: it exists."""
    with made_private(folder):
        make_signing_key(folder, passphrase)
        make_node_key(folder, passphrase)


def join(
    invitation: Invitation, name: str, out: Path, passphrase: bytes | None = None
) -> JoinRequest:
    """Makes a site's folder, or fills one that holds only its keys.

    Raises:
        RunFolderError: keys in the folder are damaged, or others may read it.
        ScenarioError: the scenario does not run between sites, the name cannot be used, or the
            folder holds a request.
    """
    scenario = invitation.shared.scenario()
    _check_name(name)
    if not (out / SIGNING_KEY).exists() or not (out / NODE_KEY).exists():
        make_keys(out, passphrase)
    check_private(out)
    if (out / REQUEST).exists():
        raise ScenarioError(f"{out} has joined already; choose another folder")
    request = JoinRequest.signed(name, node_public(node_key(out)), invitation, signing_key(out))
    data = OWN_DATA if not scenario.facts.data_set.published else ""
    # The request is the last: without it, the same command begins again with the keys.
    with disk_errors(out):
        invitation.write(out / INVITATION)
        write_atomic(out / CA_CERTIFICATE, invitation.authority.encode())
        (out / SITE).write_text(SITE_TEMPLATE.format(data=data), encoding="utf-8")
        (out / POLICY).write_text(STRICT, encoding="utf-8")
        request.write(out / REQUEST)
    return request


def _check_name(name: str) -> None:
    """Raises ScenarioError: the name cannot be part of a file's name."""
    if not is_valid(Name, name):
        raise ScenarioError(
            f"{name!r} cannot name a site: use up to 31 lower-case letters, digits and -, such as "
            "zurich"
        )
