"""Speed comparisons: each side in an environment and a process of its own."""
