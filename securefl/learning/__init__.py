"""Models and how one site trains them, the server's step, and evaluation."""
