"""Names that the command line offers before it loads the tables that hold them."""

LISTS = (
    "rules",
    "prefilters",
    "attacks",
    "data",
    "models",
    "steps",
    "channels",
    "threats",
    "runs",
)
PLUGINS = ("rule", "attack", "model", "data")
ADVERSARIES = (
    "server",
    "malicious-server",
    "clients",
    "server+clients",
    "server+key-holder",
    "neighbour",
    "next-site",
    "region",
    "top",
    "network",
    "outsider",
    "outsider-weights",
)
