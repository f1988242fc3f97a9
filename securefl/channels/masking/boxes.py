"""Sealed boxes between two clients, under keys that both derive from their sealing keys."""

import struct
from collections.abc import Mapping

from securefl.channels.masking.keys import open_sealed, seal
from securefl.channels.masking.replies import Advertisement

Peers = Mapping[int, Advertisement]  # ascending by client, itself included


def sealed_with(
    keys: Mapping[int, bytes], own: Advertisement, peers: Peers, shares: Mapping[int, bytes]
) -> dict[int, bytes]:
    """Returns a box for each holder of shares, under the key of its boxes."""
    return {
        holder: seal(keys[holder], content, associated=_route(own, peers[holder]))
        for holder, content in shares.items()
    }


def opened_with(
    keys: Mapping[int, bytes], own: Advertisement, peers: Peers, sealed: Mapping[int, bytes]
) -> dict[int, bytes]:
    """Returns the contents of all boxes that open, by dealer."""
    contents: dict[int, bytes] = {}
    for dealer, box in sealed.items():
        content = open_sealed(keys[dealer], box, associated=_route(peers[dealer], own))
        if content is not None:
            contents[dealer] = content
    return contents


def _route(sender: Advertisement, recipient: Advertisement) -> bytes:
    """Returns the associated data of a box: sender, recipient and round.

    A server that hands a box to another client, or in another round, gets nothing opened.
    """
    return struct.pack("<III", sender.sender, recipient.sender, sender.round)
