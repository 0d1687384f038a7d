"""Training on folders of pictures at ImageNet's scale: the trainer of the torch backend.

Register: entry point `torch` of the group `skdidicm.trainers`.
"""

from skdidicm_torch.imagenet.embeddings import embed
from skdidicm_torch.imagenet.official import read_official
from skdidicm_torch.imagenet.reevaluation import evaluate
from skdidicm_torch.imagenet.trainer import check, train

__all__ = ["check", "embed", "evaluate", "read_official", "train"]
