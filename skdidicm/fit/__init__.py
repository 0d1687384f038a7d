"""From settings and rows to trained networks."""
