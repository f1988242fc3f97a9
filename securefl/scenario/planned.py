"""What the design has and this version does not have yet."""

_LATER = {
    "channel.kind": ("bfv",),
    "privacy.unit": ("client",),
    "privacy.place": ("distributed", "central"),
    "training.kind": ("clipped_gradient",),
}


def planned(key: str) -> tuple[str, ...]:
    """Values of a scenario key that the design has and this version does not have yet."""
    return _LATER.get(key, ())
