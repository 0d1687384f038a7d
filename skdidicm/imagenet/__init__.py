"""Training runs on folders of images at ImageNet's scale.

This package holds what all frameworks share: settings, recipes, reading of images, checkpoints, the
training loop and figures. The trainers of the backends are found through the entry-point group
`skdidicm.trainers`.
"""
