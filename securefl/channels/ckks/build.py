"""Both sides of the CKKS channel from public constants, and what each party observes."""

from typing import Any

from securefl.channels.ckks.terms import CkksTerms
from securefl.channels.kind import Kind
from securefl.channels.protocol import Plan, Seen, Sides

_SHOWN = (Seen.ENCRYPTED_UPDATE, Seen.ENCRYPTED_SUM)


def ckks_sides(plan: Plan, **options: Any) -> Sides:
    """Returns both sides of a channel with one sum under encryption, opened by the clients.

    One holder makes the key. The others get it within this process; hospitals would pass it over a
    channel that the server cannot read.

    Raises:
        ValueError: the terms do not fit.
    """
    # Imported here, so that only users of this channel load TenSEAL.
    from securefl.channels.ckks.cipher import KeyHolder
    from securefl.channels.ckks.client import CkksClient
    from securefl.channels.ckks.names import first_name
    from securefl.channels.ckks.server import CkksServer

    terms = ckks_terms(plan, **options)
    dealer = KeyHolder.generate()
    secret = dealer.to_bytes()
    server = CkksServer(terms, key_id=dealer.key_id, public_parameters=dealer.public_parameters())
    clients = {
        client: CkksClient(client, terms, KeyHolder.from_bytes(secret)) for client in plan.clients
    }
    return Sides(server, clients, first_name=first_name(plan.session, dealer.key_id))


def ckks_terms(plan: Plan, *, clip: float) -> CkksTerms:
    """Returns the terms of a session. Raises ValueError: they do not fit."""
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


def _described(terms: CkksTerms, cohort: int) -> str:
    """Says what the key opens, how many may drop out, how far the mean is off, and the costs."""
    # The mean is off by most where the cohort weighs least.
    weights = [1] * terms.cohort
    if terms.weights is not None:
        weights = sorted(terms.weights.values())
    lightest = float(sum(weights[: terms.cohort]))
    return (
        "; one client that shows it the key opens every update; "
        f"{cohort - terms.min_cohort} may drop out; coordinates clipped at {terms.clip:g}, "
        f"the mean is off by at most {terms.error_bound(cohort, lightest):.2g}; "
        "57 kB and more an update, 7 bytes for one of float32; the server must not get the models "
        "(docs/threat-model.md: what may be published)"
    )


CKKS = Kind(
    ckks_sides,
    terms=ckks_terms,
    describe=_described,
    threats={
        "server": (
            "ciphertexts it cannot open, their number, and who took part; "
            "no update, no sum, no model"
        ),
        "server with one client": (
            "every update: each client holds the key (masking has no such limit)"
        ),
        "key holders (all clients)": (
            "the sum and the global models; n - 1 of them the last one's update"
        ),
        "network": (
            "what the server sees; only the transport (TLS) keeps anybody from replacing it"
        ),
    },
    sees={
        "server": _SHOWN,
        "network": _SHOWN,
        "client": (Seen.GLOBAL_MODEL, Seen.OWN_UPDATE, Seen.OPENED_SUM),
    },
    stages=lambda **options: 2,
    rows=lambda cohort, **options: 1,
    options={"clip": 4.0},
    min_cohort=lambda **options: 3,  # of two, each could subtract its own update from the sum
    exact=False,
    lossy=True,
    keyed=True,
    bounds_weights=True,
    grid=lambda terms: 2 * terms.sum_bound(terms.cohort),
)
