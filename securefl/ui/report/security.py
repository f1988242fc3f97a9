"""The content security policy of a page: nothing is fetched, and no script runs but its own."""

import base64
import hashlib


def policy(script: str) -> str:
    """Returns the policy for a page with this one script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def data_uri(kind: str, text: str) -> str:
    """Returns a link to a text that is part of the page itself."""
    coded = base64.b64encode(text.encode(errors="replace")).decode()
    return f"data:{kind};charset=utf-8;base64,{coded}"
