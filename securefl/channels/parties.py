"""Who sees what of a channel: in words, and by the kinds of Observations of server, network and each client."""

from collections.abc import Mapping

MODEL, OWN = "global model", "own update"  # kinds of Observations that the engine makes
_IN_THE_CLEAR = (MODEL, "update in the clear")
_MASKED = (
    MODEL,
    "public keys",
    "sealed shares",
    "masked update",
    "signed survivor set",
    "shares of survivors' seeds and of dropped clients' keys",
    "sum of updates",
)
REPORTED = "reported weight"  # under masks, where clients report their weights
_ENCRYPTED = ("encrypted update", "encrypted sum")
PLAIN_SEES = {"server": _IN_THE_CLEAR, "network": _IN_THE_CLEAR, "client": (MODEL, OWN)}
MASKED_SEES = {"server": _MASKED, "network": _MASKED, "client": (MODEL, OWN)}
CKKS_SEES = {"server": _ENCRYPTED, "network": _ENCRYPTED, "client": (MODEL, OWN, "opened sum")}
PLAIN: Mapping[str, str] = {
    "server": "every update and its client",
    "network": "the same, unless a transport encrypts it",
    "other clients": "the global models",
}
MASKED: Mapping[str, str] = {
    "server": "the sum over each block's survivors, who survived, reported weights if allowed; no single update",
    "server with up to `corrupt` clients of a sum": "the sum over its honest survivors, two or more",
    "n - 1 colluding clients": "the last one's update, exactly; only noise protects it (dp_sgd)",
    "network": "what the server sees; forged, replayed or swapped messages change no sum, held back ones stop rounds",
    "other clients": "the global models, hence the sum, and who took part",
}
CKKS: Mapping[str, str] = {
    "server": "ciphertexts it cannot open, their number, and who took part; no update, no sum, no model",
    "server with one client": "every update: each client holds the key (masking has no such limit)",
    "key holders (all clients)": "the sum and the global models; n - 1 of them the last one's update",
    "network": "what the server sees; that nobody swaps it is for the transport to see to (TLS)",
}
