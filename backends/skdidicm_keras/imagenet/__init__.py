"""Training on folders of pictures at ImageNet's scale: the trainer of the Keras backend.

Register: entry point `keras` of the group `skdidicm.trainers`.
"""

from skdidicm_keras.imagenet.reevaluation import evaluate
from skdidicm_keras.imagenet.settings import check
from skdidicm_keras.imagenet.trainer import train

__all__ = ["check", "evaluate", "train"]
