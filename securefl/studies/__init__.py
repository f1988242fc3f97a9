"""Many scenarios at once: grids of cells, their scores, statistics and tables."""
