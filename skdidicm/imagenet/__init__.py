"""Runs on folders of pictures at ImageNet's scale: settings, recipes, pictures and figures.

All that is the same for every framework; the training itself is a trainer of a backend, found
through the entry-point group `skdidicm.trainers`.
"""
