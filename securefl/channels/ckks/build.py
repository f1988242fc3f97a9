"""Both sides of the CKKS channel from public constants, and who sees what of it."""

from collections.abc import Mapping
from typing import Any

from securefl.channels.ckks.terms import CkksTerms
from securefl.channels.protocol import MODEL, OWN, Plan, Sides

_ENCRYPTED = ("encrypted update", "encrypted sum")
CKKS_SEES = {"server": _ENCRYPTED, "network": _ENCRYPTED, "client": (MODEL, OWN, "opened sum")}
CKKS: Mapping[str, str] = {
    "server": "ciphertexts it cannot open, their number, and who took part; no update, no sum, no model",
    "server with one client": "every update: each client holds the key (masking has no such limit)",
    "key holders (all clients)": "the sum and the global models; n - 1 of them the last one's update",
    "network": "what the server sees; that nobody swaps it is for the transport to see to (TLS)",
}


def ckks_sides(plan: Plan, **options: Any) -> Sides:
    """One sum under encryption, opened by the clients. Raises ValueError where terms do not fit.

    The first client makes the key; the others get it here by hand, between hospitals over a way of their own.
    """
    from securefl.channels.ckks.cipher import KeyHolder  # tenseal: for who uses it
    from securefl.channels.ckks.client import CkksClient
    from securefl.channels.ckks.names import first_name
    from securefl.channels.ckks.server import CkksServer

    terms, dealer = ckks_terms(plan, **options), KeyHolder.generate()
    secret = dealer.to_bytes()
    server = CkksServer(terms, key_id=dealer.key_id, public_parameters=dealer.public_parameters())
    clients = {
        client: CkksClient(client, terms, KeyHolder.from_bytes(secret)) for client in plan.clients
    }
    return Sides(server, clients, first_name=first_name(plan.session, dealer.key_id))


def ckks_terms(plan: Plan, *, clip: float) -> CkksTerms:
    """The terms of a session. Raises ValueError where they do not fit."""
    return CkksTerms(
        session=plan.session,
        clients=plan.clients,
        d=plan.d,
        clip=clip,
        cohort=plan.cohort,
        min_cohort=plan.min_cohort,
        weights=plan.weights,
        max_weight=plan.max_weight,
    )
