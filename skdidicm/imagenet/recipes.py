"""The paper's two recipes and a fast one, and how settings are resolved from options and files.

Where the paper and the official code differ, this follows the code: `eps_t` is 1e-5, the default of
its command line, and the learning rate follows a cosine over updates, not over whole epochs.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from skdidicm.imagenet.config import SETTINGS, RunConfig, flag, parameterization

RECIPES: dict[str, dict[str, Any]] = {
    "weak": {"batch_size": 128, "global_batch": 8 * 128},
    "strong": {
        "batch_size": 256,
        "global_batch": 8 * 256,
        "auto_augment": "rand-m7-mstd0.5-inc1",
        "mixup": 0.2,
        "cutmix": 1.0,
        "label_smoothing": 0.1,
        "repeats": 3,
    },
    "fast": {
        "batch_size": 128,
        "global_batch": 8 * 128,
        "objective": "bayes_cross_entropy",
        "times": "log_odds",
        "eps_t": 1e-3,
        "resolution": 160,
        "crop": 0.95,
        "epochs": 100,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "min_crop": 0.35,
        "color_jitter": 0.0,
        "mixup": 0.1,
        "ema": 0.999,
    },
}
"""Differences of each recipe from the defaults, which are those of "weak". "fast" is our own."""

_UPDATES = 4  # in an epoch, at least, where there are fewer images than a batch
_PEAKS = {"strong": 3.5e-3, "fast": 2e-3}


class Resolved(NamedTuple):
    """Settings, and the origin of each value."""

    config: RunConfig
    origins: dict[str, str]


def learning_rate(recipe: str, data_ratio: float) -> float:
    """Return the peak learning rate of a recipe.

    Examples
    --------
    >>> learning_rate("weak", 0.25)
    0.004
    """
    return _PEAKS.get(recipe, 2e-3 * math.sqrt(1 / data_ratio))


def resolve(flags: Mapping[str, Any], file: Path | None = None) -> Resolved:
    """Resolve all settings; options take precedence over the file, the recipe and the defaults.

    Raises
    ------
    ValueError
        If a name is unknown or a value is out of range.

    Examples
    --------
    >>> config, origins = resolve({"recipe": "strong", "epochs": 100})
    >>> config.repeats, origins["repeats"], origins["epochs"], origins["keep"]
    (3, 'recipe strong', '--epochs', 'default')
    """
    from_file = {} if file is None else read_toml(file)
    recipe = flags.get("recipe", from_file.get("recipe", "weak"))
    sources: list[tuple[Mapping[str, Any], str]] = [
        (RECIPES.get(recipe, {}), f"recipe {recipe}"),
        (from_file, str(file)),
        (flags, ""),
    ]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(SETTINGS, "default")
    for source, origin in sources:
        values |= source
        origins |= {name: origin or flag(name) for name in source}
    config = RunConfig(**values)
    derived = _derived(config)
    origins |= dict.fromkeys(derived, "derived")
    return Resolved(RunConfig(**values | derived), origins)


def fitted(resolved: Resolved, n: int, world: int) -> Resolved:
    """Return settings with batches that n training images fill, at least four times in an epoch.

    Settings that suit n stay as they are. `world` is the number of processes.

    Examples
    --------
    >>> config, origins = fitted(resolve({}), n=300, world=1)
    >>> config.global_batch, config.batch_size, origins["batch_size"]
    (64, 64, '300 images')
    """
    config = resolved.config
    if n >= config.global_batch:
        return resolved
    whole = 2 ** int(math.log2(max(2, n // _UPDATES)))
    size = max(2, min(config.batch_size, whole // world))
    changed = {"batch_size": size, "global_batch": size * world * max(1, whole // (size * world))}
    origins = resolved.origins | dict.fromkeys(changed, f"{n} images")
    return Resolved(replace(config, **changed), origins)


def _derived(config: RunConfig) -> dict[str, Any]:
    """Return the settings that are derived from others.

    Raises
    ------
    ValueError
        If parameterization and conditioning do not suit the objective.
    """
    derived: dict[str, Any] = {}
    form = config.parameterization or parameterization(config.objective)
    if config.parameterization is None:
        derived["parameterization"] = form
    elif form == "score" and config.objective != "score_entropy":
        raise ValueError(
            f"--parameterization is 'score' with --objective {config.objective}, which needs the "
            "logits of classes; expected posterior."
        )
    if config.solver is None:
        derived["solver"] = "bridge" if form == "posterior" else "euler"
    if config.learning_rate is None:
        derived["learning_rate"] = learning_rate(config.recipe, config.data_ratio)
    if config.conditioning is None:
        own = config.model.startswith("didirn")
        plain = config.objective == "cross_entropy"
        where = "last" if config.recipe == "fast" else "blocks"
        derived["conditioning"] = "none" if plain else where if own else "head"
    elif (config.conditioning == "none") != (config.objective == "cross_entropy"):
        raise ValueError(
            f"--conditioning is {config.conditioning!r} with --objective {config.objective}; the "
            "cross-entropy baseline has none, and the others need blocks, last or head."
        )
    return derived


def read_toml(path: Path) -> dict[str, Any]:
    """Return the settings of a TOML file; names may have dashes instead of underscores."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from error
    values = {name.replace("-", "_"): value for name, value in content.items()}
    for name, value in values.items():
        if name not in SETTINGS:
            raise ValueError(
                f"{path} sets {name!r}, which is not a setting; expected some of: "
                f"{', '.join(SETTINGS)}."
            )
        values[name] = _typed(name, value, path)
    return values


def _typed(name: str, value: Any, path: Path) -> Any:
    """Return a value converted to the type of its setting."""
    wanted = str(SETTINGS[name].type)
    kinds = {"int": int, "float": float, "str": str, "bool": bool}
    kind = next(kind for text, kind in kinds.items() if text in wanted)
    number = kind is float and isinstance(value, int) and not isinstance(value, bool)
    if type(value) is not kind and not number:
        raise ValueError(f"{path} sets {name} to {value!r}; expected a value of type {wanted}.")
    return kind(value)
