"""What a coordinator and an agent open when they talk over Flower, as a file in their folder says.

{"socket": "...", "relay_user": null}                                        at a site
{..., "programs": "...", "home": "...", "nodes": {"0": 1234}}                at the coordinator
"""

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from securefl.errors import RunFailed
from securefl.files import read_json, write_json
from securefl.runs.flower.commands import Flower
from securefl.runs.flower.link import FlowerLink
from securefl.runs.flower.network import leave_network
from securefl.runs.flower.sockets import bound, serve_relay, user_id

_FILE = "flower.json"


def write_site(folder: Path, socket: Path, *, relay_user: str | None = None) -> None:
    """Says in a site's folder where its agent listens, and for whose processes."""
    write_json(folder / _FILE, {"socket": str(socket), "relay_user": relay_user})


def write_coordinator(
    folder: Path,
    socket: Path,
    flower: Flower,
    nodes: Mapping[int, int],
    *,
    relay_user: str | None = None,
) -> None:
    """Says in the coordinator's folder where it listens, and which node is whose."""
    values = {
        "socket": str(socket),
        "relay_user": relay_user,
        "programs": str(flower.programs),
        "home": str(flower.home),
        "nodes": {str(site): node for site, node in nodes.items()},
    }
    write_json(folder / _FILE, values)


def coordinator_link(folder: Path, *, sites: Collection[int], limit: int) -> FlowerLink:
    """Returns the coordinator's link, which submits its relay by itself."""
    values = read_json(folder / _FILE)
    flower = Flower(Path(values["programs"]), Path(values["home"]))
    nodes = {site: values["nodes"][str(site)] for site in sites}
    socket = Path(values["socket"])

    def submit() -> bool:
        try:
            flower.submit(socket, nodes)
        except RunFailed:  # the SuperLink starts again, or is not there yet
            return False
        return True

    relay, users = _accounts(values)
    return FlowerLink(bound(socket, relay=relay), submit, limit=limit, users=users)


def serve_site(
    folder: Path,
    answer: Callable[[bytes], bytes | None],
    is_finished: Callable[[], bool],
    *,
    limit: int,
) -> None:
    """Answers a site's relay until the run is over, without a network; see `sockets.serve_relay`.

    An account that may not leave the network stays in it.
    """
    leave_network()
    values = read_json(folder / _FILE)
    relay, users = _accounts(values)
    with closing(bound(Path(values["socket"]), relay=relay)) as listener:
        serve_relay(listener, answer, is_finished, limit=limit, users=users)


def _accounts(values: Mapping[str, Any]) -> tuple[int | None, set[int]]:
    """Returns the relay's account, if it is another, and all whose processes are answered."""
    if values["relay_user"] is None:
        return None, {os.getuid()}
    relay = user_id(values["relay_user"])
    return relay, {os.getuid(), relay}
