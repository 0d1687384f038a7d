"""From rows and trained networks to class probabilities."""
