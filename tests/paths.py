"""Where things lie: the root of the checkout, and published test vectors."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
VECTORS = ROOT / "tests/vectors"
