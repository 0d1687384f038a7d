"""The settings of a run: one dataclass, from which the command line derives its options.

The metadata of a field hold the option's help. None means that `recipes.resolve` derives the value.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

PRECISIONS = ("float32", "bfloat16", "float16")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels, scaled to [0, 1]."""


def _setting(default: Any, panel: str, text: str, shown: str | None = None) -> Any:
    """Return a field; `shown` is the default that help shows where the value is derived."""
    return field(default=default, metadata={"panel": panel, "help": text, "shown": shown})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of a run, as values that JSON can hold."""

    data: str = _setting("", "Data", "Folder with train/CLASS/* and val/CLASS/*, or 'synthetic'.")
    reader: str = _setting(
        "", "Data", "Another format: tar for .tar files, wds for shards, or hfds/NAME of timm."
    )
    resolution: int = _setting(224, "Data", "Pixels a side of the square input.")
    data_ratio: float = _setting(1.0, "Data", "Fraction of every class's training images.")
    n_classes: int | None = _setting(
        None, "Data", "Number of classes, if the data do not define it.", "from the data"
    )
    n_images: int = _setting(1281167, "Data", "Images per epoch of synthetic data.")
    workers: int = _setting(8, "Data", "Processes that read images, per device.")
    on_bad_image: str = _setting(
        "error", "Data", "At an unreadable image: error, or skip (at most 1% of them)."
    )

    model: str = _setting("didirn50", "Network", "didirn18 to didirn152, or a network of timm.")
    objective: str = _setting(
        "score_entropy",
        "Network",
        "score_entropy (the paper), bayes_cross_entropy, or cross_entropy: the baseline, the same "
        "network without label and noise.",
    )
    parameterization: str | None = _setting(
        None,
        "Network",
        "What the outputs are: score (the paper) or posterior, the logits of the class.",
        "score for score_entropy, else posterior",
    )
    conditioning: str | None = _setting(
        None,
        "Network",
        "Where label and noise enter: blocks (the paper), last, head; none for cross_entropy.",
        "blocks; fast: last",
    )
    schedule: str = _setting("loglinear", "Network", "Noise over time.")
    eps_t: float = _setting(1e-5, "Network", "Smallest time in training.")
    times: str = _setting(
        "uniform", "Network", "Law of the times in training: uniform (the paper) or log_odds."
    )
    n_draws: int = _setting(1, "Network", "Noisy labels per image and update.")

    recipe: str = _setting("weak", "Recipe", "The paper's weak or strong recipe, or fast.")
    epochs: int = _setting(600, "Recipe", "Passes over the training images.")
    stop_epoch: int | None = _setting(
        None, "Recipe", "Stop after this epoch; the schedule stays that of --epochs.", "no"
    )
    batch_size: int = _setting(128, "Recipe", "Images per device and forward pass.")
    global_batch: int = _setting(1024, "Recipe", "Images per update, over all devices and passes.")
    optimizer: str = _setting("lamb", "Recipe", "An optimiser of timm; Keras: lamb, adamw, sgd.")
    learning_rate: float | None = _setting(None, "Recipe", "Peak learning rate.", "the recipe's")
    warmup_epochs: float = _setting(5, "Recipe", "Epochs of linear warm-up.")
    warmup_learning_rate: float = _setting(
        1e-5, "Recipe", "Learning rate at the start of the warm-up."
    )
    weight_decay: float = _setting(0.01, "Recipe", "Weight decay, except of biases and norms.")
    max_grad_norm: float = _setting(1.0, "Recipe", "Maximum norm of the gradients; 0: no clipping.")
    min_crop: float = _setting(0.08, "Recipe", "Smallest fraction of an image in a random crop.")
    color_jitter: float = _setting(0.4, "Recipe", "Jitter of brightness, contrast and saturation.")
    auto_augment: str = _setting("", "Recipe", "RandAugment in timm's notation: rand-m7-n2.")
    mixup: float = _setting(0.0, "Recipe", "Parameter of mixup's Beta distribution; 0: no mixup.")
    cutmix: float = _setting(
        0.0, "Recipe", "Parameter of CutMix's Beta distribution; 0: no CutMix."
    )
    label_smoothing: float = _setting(0.0, "Recipe", "Fraction of a label spread over all classes.")
    repeats: int = _setting(1, "Recipe", "Views of an image per epoch (repeated augmentation).")
    ema: float = _setting(0.0, "Recipe", "Decay of the exponential weight average; 0: none.")

    backend: str = _setting("torch", "Engine", "Backend that trains: torch or keras.")
    device: str = _setting("auto", "Engine", "Device: auto, cpu, cuda, cuda:1, ...")
    precision: str | None = _setting(
        None, "Engine", "float32, bfloat16 or float16.", "bfloat16 on a GPU, else float32"
    )
    compile: bool = _setting(False, "Engine", "Compile the network.")
    channels_last: bool = _setting(True, "Engine", "Channels-last memory layout.")
    gradient_checkpointing: bool = _setting(
        False, "Engine", "Recompute blocks in the backward pass to save memory."
    )
    sync_batchnorm: bool = _setting(False, "Engine", "BatchNorm statistics over all devices.")
    seed: int = _setting(0, "Engine", "Seed of weights, order, augmentation and noise.")

    sampler: str = _setting("cp", "Evaluation", "Class probabilities (cp) or label chains (cl).")
    solver: str | None = _setting(
        None,
        "Evaluation",
        "Euler step or exact Bayes bridge.",
        "bridge for posterior, else euler",
    )
    steps: int = _setting(8, "Evaluation", "Reverse steps.")
    n_chains: int = _setting(16, "Evaluation", "Chains per image of cl.")
    crop: float = _setting(0.875, "Evaluation", "Fraction of the side that the centre crop keeps.")
    evaluate_every: int = _setting(1, "Evaluation", "Epochs between two evaluations.")

    accept_changed_data: bool = _setting(
        False, "Run", "Resume although the images have changed since the last checkpoint."
    )
    resume: str = _setting("auto", "Run", "auto, never, or a checkpoint file to resume from.")
    keep: int = _setting(3, "Run", "Checkpoints to keep, in addition to the best.")
    checkpoint_minutes: float = _setting(15.0, "Run", "Maximum minutes between two checkpoints.")
    log_every: int = _setting(50, "Run", "Updates between two lines of the log.")
    tensorboard: bool = _setting(False, "Run", "Write events for TensorBoard.")

    def __post_init__(self) -> None:
        """Validate every value."""
        # Earlier versions spelt objectives with dashes.
        object.__setattr__(self, "objective", self.objective.replace("-", "_"))
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed and not (value is None and SETTINGS[name].default is None):
                raise ValueError(
                    f"{flag(name)} is {getattr(self, name)!r}; expected {' or '.join(allowed)}."
                )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                bounds = f"{low} or more" if high == _INFINITE else f"{low} to {high}"
                raise ValueError(f"{flag(name)} is {value}; expected {bounds}.")
        if not 0 < self.data_ratio <= 1:
            raise ValueError(f"--data-ratio is {self.data_ratio}; expected a share in (0, 1].")
        if (self.mixup or self.cutmix) and self.batch_size % 2:
            raise ValueError(
                f"--batch-size is {self.batch_size}; mixup and cutmix pair images, so expected an "
                "even number."
            )

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Return the settings that `plain` described, in this version or an earlier one.

        Raises
        ------
        ValueError
            If a name is unknown, or a value is of another type or out of range.
        """
        values = _with_form(values)
        for name, value in values.items():
            if name not in SETTINGS:
                raise ValueError(f"{name!r} is not a setting of this version")
            kinds = get_args(SETTINGS[name].type) or (SETTINGS[name].type,)
            number = float in kinds and type(value) is int
            if type(value) not in kinds and not number:
                raise ValueError(f"{flag(name)} is {value!r}; expected {SETTINGS[name].type}")
        return cls(**values)

    @property
    def network(self) -> str:
        """The model's name in `DiDiClassifier`: networks of timm have a prefix."""
        return self.model if self.model.startswith("didirn") else f"timm/{self.model}"

    def plain(self) -> dict[str, Any]:
        """Return the settings as a dictionary of JSON values."""
        return asdict(self)


_INFINITE = 1e12  # JSON knows no infinity
_CHOICES = {
    # As the core and `networks` name them, which import NumPy; help does not wait for it.
    "objective": ("score_entropy", "bayes_cross_entropy", "cross_entropy"),
    "on_bad_image": ("error", "skip"),
    "parameterization": ("score", "posterior"),
    "conditioning": ("blocks", "last", "head", "none"),
    "times": ("uniform", "log_odds"),
    "recipe": ("weak", "strong", "fast"),
    "schedule": ("loglinear", "geometric", "cosine"),
    "sampler": ("cp", "cl"),
    "solver": ("euler", "bridge"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "resolution": (8, 4096),
    "n_classes": (2, 10**6),
    "n_images": (1, _INFINITE),
    "workers": (0, 1024),
    "eps_t": (1e-7, 0.5),
    "n_draws": (1, 4096),
    "epochs": (1, 10**6),
    "stop_epoch": (1, 10**6),
    "batch_size": (1, 10**6),
    "global_batch": (1, 10**7),
    "learning_rate": (0, 10),
    "warmup_epochs": (0, 10**6),
    "warmup_learning_rate": (0, 10),
    "weight_decay": (0, 10),
    "max_grad_norm": (0, _INFINITE),
    "min_crop": (1e-3, 1),
    "color_jitter": (0, 10),
    "mixup": (0, 100),
    "cutmix": (0, 100),
    "label_smoothing": (0, 0.99),
    "repeats": (1, 100),
    "ema": (0, 1),
    "steps": (1, 10**4),
    "n_chains": (1, 10**6),
    "crop": (0.05, 1),
    "evaluate_every": (1, 10**6),
    "keep": (1, 10**4),
    "checkpoint_minutes": (0, _INFINITE),
    "log_every": (1, 10**6),
    "seed": (0, 2**63 - 1),
}
SETTINGS = {f.name: f for f in fields(RunConfig)}
FREE = frozenset(
    {"data", "workers", "on_bad_image", "device", "stop_epoch", "resume", "keep"}
    | {"checkpoint_minutes", "log_every", "tensorboard", "evaluate_every", "compile"}
    | {"gradient_checkpointing", "accept_changed_data"}
)
"""Settings that may change when a run is resumed, since they do not affect the result."""

AT_EVALUATION = (
    *("data", "reader", "workers", "on_bad_image", "batch_size", "device", "precision"),
    *("sampler", "solver", "steps", "n_chains", "crop"),
)
"""Settings that may change in an evaluation."""


def changes(config: RunConfig, saved: Mapping[str, Any]) -> str:
    """Return the differences from saved settings that affect the result, or ""."""
    now, saved = config.plain(), _with_form(saved)
    changed = [k for k in now if k not in FREE and k in saved and saved[k] != now[k]]
    return ", ".join(f"{k} {saved[k]!r} -> {now[k]!r}" for k in changed)


def parameterization(objective: str) -> str:
    """Return the parameterization that suits an objective, the only one for cross-entropies."""
    return "score" if objective == "score_entropy" else "posterior"


def _with_form(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return saved settings with what earlier versions, which had one form each, left out."""
    objective = saved.get("objective")
    if not isinstance(objective, str):
        return dict(saved)
    objective = objective.replace("-", "_")
    form = {"parameterization": parameterization(objective), "times": "uniform"}
    return form | dict(saved) | {"objective": objective}


def flag(name: str) -> str:
    """Return the command-line option of a setting."""
    return "--" + name.replace("_", "-")
