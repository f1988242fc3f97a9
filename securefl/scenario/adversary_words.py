"""Whom a claim holds against, in words; without torch, so that a page of runs starts at once."""

from typing import TYPE_CHECKING

from securefl.privacy.terms import Place

if TYPE_CHECKING:  # it imports torch, which a reader of run folders need not wait for
    from securefl.channels.kind import Kind


def adversary_words(place: Place, channel: "Kind") -> str:
    """Returns whom a claim holds against, and whom it does not; nothing for local noise.

    Local noise holds against everybody else, so that nothing has to be said about it.
    """
    if place.name == "central":
        return f"the claim holds against {_sides_of_opener(channel)}"
    return words_of_clients(place)


def words_of_clients(place: Place) -> str:
    """Returns the same for noise that clients add, which no channel decides."""
    if place.name != "distributed":
        return ""
    helpers = "1 client" if place.corrupt == 1 else f"{place.corrupt} clients"
    return f"the claim holds against the server together with up to {helpers} of a sum"


def _sides_of_opener(channel: "Kind") -> str:
    """Returns whom central noise holds against, and who sees sums, or updates, without it.

    Whoever changes a ciphertext can move a number of the sum to where it wraps around, so that one
    record decides its sign. Key holders cannot tell such a sum from an honest one.
    """
    if channel.opener == "key holders":
        return (
            "those who get a model and no key, and can change no ciphertext, and NOT against "
            "the key holders, who open the sum and add the noise, nor against whoever changes "
            "ciphertexts, as the server could"
        )
    if channel.shows_every_update:
        return (
            "those who see models only, and NOT against the server, which sees every update "
            "without noise"
        )
    return (
        "those who see models only, and NOT against the server, which opens the sum and adds the "
        "noise"
    )
