"""Checkpoints of the paper's code, which are torch's own files."""

from pathlib import Path

from skdidicm.imagenet.checkpoint import Tensors


def read_official(path: Path) -> tuple[str, Tensors]:
    """Say that torch reads these files; models then open on either backend.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError(
        f"{path} is a file of torch, which the Keras backend does not read; pass --backend torch "
        "and open the model.skd that is written with either."
    )
