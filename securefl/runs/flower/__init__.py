"""Sealed envelopes over Flower, which carries them and holds no record, secret or decision.

`relay/` is the app that Flower runs, on both sides, with its own Python: it passes bytes between
Flower and a Unix socket. `link` and `sockets` are our ends of these sockets. `gate` is the one port
of the coordinator's machine, `commands` are the command lines of Flower's programs, `supervision`
keeps them running, and `stage` puts all of them up on one machine for a rehearsal.
"""
