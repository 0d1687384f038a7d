"""Checks for settings that this trainer does not support, before a run begins."""

from importlib import util

from skdidicm.imagenet.config import RunConfig, flag
from skdidicm.imagenet.feed import SYNTHETIC, accumulation
from skdidicm.imagenet.sources import READERS
from skdidicm.networks import CONDITIONINGS, RESNETS
from skdidicm_keras import engine
from skdidicm_keras.imagenet.augmentation import policy
from skdidicm_keras.imagenet.optimizer import OPTIMIZERS
from skdidicm_keras.imagenet.processes import check_alone, joined

_PRECISIONS = ("float32", "bfloat16")
_LARGEST = 1.0
"""The largest jitter and CutMix parameter that Keras's layers accept."""


def check(config: RunConfig) -> None:
    """Check that this trainer supports a configuration.

    Raises
    ------
    ValueError
        If it does not.
    ImportError
        If Pillow is not installed.
    """
    if util.find_spec("PIL") is None:
        raise ImportError(
            "--backend keras needs pillow for folders of pictures, which is not installed; install "
            "it with: pip install pillow"
        )
    check_alone()
    check_choices(config)
    _check_switches(config)
    if config.auto_augment:
        policy(config.auto_augment)
    for name in ("color_jitter", "cutmix"):
        if getattr(config, name) > _LARGEST:
            raise ValueError(
                f"{flag(name)} is {getattr(config, name)}; with --backend keras, expected at most "
                f"{_LARGEST:g}."
            )
    with joined(config.device) as comm:
        accumulation(config, comm.devices)


def check_choices(config: RunConfig) -> None:
    """Check the settings with a fixed set of values, for evaluation too; raise as `check` does."""
    reader = "" if config.data == SYNTHETIC else config.reader
    precision = config.precision or _PRECISIONS[0]
    for name, value, allowed, others in (
        ("reader", reader, READERS, "timm reads the others"),
        ("model", config.model, tuple(RESNETS), "timm has the others"),
        ("conditioning", config.conditioning, CONDITIONINGS, "torch has the baseline"),
        ("optimizer", config.optimizer, OPTIMIZERS, "timm has others"),
        ("precision", precision, _PRECISIONS, "torch scales its loss for float16"),
    ):
        if value not in allowed:
            shown = ", ".join(one or "none" for one in allowed)
            raise ValueError(
                f"{flag(name)} is {value!r}; with --backend keras, expected one of: {shown} "
                f"({others}: --backend torch)."
            )


def _check_switches(config: RunConfig) -> None:
    reasons = {
        "--compile": config.compile and engine.NAME == "torch",
        "--gradient-checkpointing": config.gradient_checkpointing,
        "--no-channels-last": not config.channels_last,
    }
    for option, asked in reasons.items():
        if asked:
            raise ValueError(
                f"{option} is not for --backend keras on {engine.NAME}; leave it out, or pass "
                "--backend torch."
            )
