"""What `securefl keys new` and `securefl site join` do."""

from pathlib import Path

from securefl.runs.deployed.invitation import Invitation
from securefl.runs.deployed.joining import POLICY, REQUEST, join, make_keys
from securefl.runs.deployed.keys import node_key, node_public, signing_key
from securefl.runs.deployed.own_records import SITE
from securefl.ui.display import Display


def new_keys(folder: Path, passphrase: bytes | None, display: Display) -> None:
    """Makes a folder with keys, and shows their public halves. Raises ScenarioError: it exists."""
    make_keys(folder, passphrase)
    key = signing_key(folder).public_key().public_bytes_raw().hex()
    node = node_public(node_key(folder))
    display.line(f"{folder}: Ed25519 {key}, P-384 {node}", folder=str(folder), key=key, node=node)


def join_federation(
    path: Path, name: str, out: Path, passphrase: bytes | None, display: Display
) -> None:
    """Makes a site's folder and request, and shows what to compare by telephone.

    Raises:
        RunFolderError: the invitation is none, or the folder's keys are damaged.
        ScenarioError: see `join`.
    """
    invitation = Invitation.read(path)
    request = join(invitation, name, out, passphrase)
    own = not invitation.shared.scenario().facts.data_set.published
    files = f"{out / SITE} and {out / POLICY}" if own else f"{out / POLICY}"
    display.remark(
        f"look through {files}; nobody else reads that. Compare the invitation's"
        " fingerprint with the coordinator by telephone before you send anything."
    )
    display.line(
        f"send {out / REQUEST} to the coordinator; fingerprint of the invitation: "
        f"{invitation.fingerprint}; of the request: {request.fingerprint}",
        request=str(out / REQUEST),
        fingerprint=invitation.fingerprint,
        request_fingerprint=request.fingerprint,
    )
