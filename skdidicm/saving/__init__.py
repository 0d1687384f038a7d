"""Files: models, and what a run leaves in its folder."""
