"""The paper's Table 1: figures of our runs next to the reported ones."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from skdidicm.imagenet.grid import OBJECTIVES, Cell, Setting
from skdidicm.tables import safe_row

_IMAGENET = {"n_classes": 1000, "n_train": 1_281_167, "n_val": 50_000}
_WORDNET = re.compile(r"n\d{8}")


class Reported(NamedTuple):
    """The paper's top-1 and top-5 accuracies in percent, taken from a secondary note."""

    baseline: tuple[float, float]
    didicm: tuple[float, float]


PAPER = {
    Setting(224, 1.0, "strong"): Reported((80.42, 94.60), (80.40, 95.29)),
    Setting(56, 0.25, "strong"): Reported((53.77, 76.03), (59.05, 81.93)),
    Setting(56, 0.25, "weak"): Reported((44.86, 66.46), (57.92, 80.26)),
}
"""ResNet-50 against DiDiRN-50, DiDiCM-CP with 8 steps, on ImageNet-1k."""


class TableFacts(NamedTuple):
    """Data and settings of the runs in a table; None if unknown."""

    data: str
    n_classes: int
    n_train: int | None
    n_val: int
    model: str
    epochs: str
    sampler: str
    is_imagenet: bool


def is_imagenet(classes: Sequence[str], n_train: int | None, n_val: int) -> bool:
    """Return whether a data set has the classes and the image counts of ImageNet-1k."""
    counts = {"n_classes": len(classes), "n_train": n_train, "n_val": n_val}
    return counts == _IMAGENET and all(_WORDNET.fullmatch(name) for name in classes)


Figures = Mapping[str, float]
"""Figures of an evaluation; accuracies lie in [0, 1]."""


class TableRow(NamedTuple):
    """Figures of a setting: the baseline's, DiDiCM's and the paper's; None if there are none."""

    setting: Setting
    baseline: Figures | None
    didicm: Figures | None
    reported: Reported | None


def rows(cells: Iterable[Cell], results: Mapping[Cell, Figures]) -> list[TableRow]:
    """Return one row per setting of the cells."""
    settings = dict.fromkeys(cell.setting for cell in cells)
    return [TableRow(s, *_pair_of_results(s, results), PAPER.get(s)) for s in settings]


def _pair_of_results(setting: Setting, results: Mapping[Cell, Figures]) -> tuple[Any, Any]:
    baseline, didicm = (Cell(*setting, objective) for objective in OBJECTIVES)
    return results.get(baseline), results.get(didicm)


HEADER = (
    "px",
    "data",
    "recipe",
    "cross-entropy top-1 / top-5",
    "DiDiCM top-1 / top-5",
    "gain",
    "NLL",
    "ECE",
    "paper (as reported): ResNet-50",
    "DiDiCM",
    "gain",
)


def cells_of(row: TableRow) -> list[str]:
    """Return a row's texts in the order of HEADER; NLL and ECE are those of baseline / DiDiCM."""
    own = [_tops(row.baseline), _tops(row.didicm)]
    baseline, didicm = (_pair(tops) for tops in own)
    reported = row.reported
    return [
        str(row.setting.resolution),
        f"{100 * row.setting.data_ratio:g}%",
        row.setting.recipe,
        baseline,
        didicm,
        _gain(*own),
        _both(row, "nll", "{:.3f}".format),
        _both(row, "ece", lambda share: f"{100 * share:.2f}%"),
        _pair(reported and reported.baseline),
        _pair(reported and reported.didicm),
        _gain(reported and reported.baseline, reported and reported.didicm),
    ]


Tops = tuple[float, float] | None
"""Top-1 and top-5 accuracy in percent."""


def _tops(figures: Figures | None) -> Tops:
    if figures is None:
        return None
    return 100 * figures["accuracy"], 100 * figures["top5_accuracy"]


def _pair(tops: Tops) -> str:
    return f"{tops[0]:.2f} / {tops[1]:.2f}" if tops else "-"


def _gain(baseline: Tops, didicm: Tops) -> str:
    if not baseline or not didicm:
        return "-"
    return " / ".join(f"{b - a:+.2f}" for a, b in zip(baseline, didicm, strict=True))


def _both(row: TableRow, name: str, write: Any) -> str:
    found = [write(one[name]) if one else "-" for one in (row.baseline, row.didicm)]
    return "-" if set(found) == {"-"} else " / ".join(found)


def caption(facts: TableFacts) -> str:
    """Return the caption: data, network and settings, and whether the data are ImageNet-1k."""
    n_train = "an unknown number of" if facts.n_train is None else f"{facts.n_train:,}"
    said = (
        f"Data: {facts.data}, {facts.n_classes} classes, {n_train} training and {facts.n_val:,} "
        f"validation images. Network: {facts.model}. Epochs: {facts.epochs}. Sampler: "
        f"{facts.sampler}. The baseline is cross-entropy on the same stem and blocks."
    )
    if facts.is_imagenet:
        return f"{said} The paper's figures are of 600 epochs."
    return (
        f"**Not ImageNet-1k**: these figures say nothing of the paper's. {said} The paper's "
        "figures are of ImageNet-1k and 600 epochs."
    )


def markdown(found: Sequence[TableRow], facts: TableFacts) -> str:
    """Return the table as Markdown, with its caption."""
    lines = [list(HEADER), ["---"] * len(HEADER), *(cells_of(row) for row in found)]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return (
        f"# Table 1\n\n{caption(facts)}\n\n{text}\n\nTop-1 and top-5 accuracy in percent, gain in "
        "points. NLL in nats and ECE (15 bins): cross-entropy / DiDiCM. The columns after ECE are "
        "the paper's figures as reported in a secondary note, not checked in its own text.\n"
    )


_FIGURES = {"top1": "accuracy", "top5": "top5_accuracy", "nll": "nll", "ece": "ece"}


def as_csv(found: Sequence[TableRow], facts: TableFacts) -> str:
    """Return the table as CSV: accuracies in [0, 1], and the facts repeated in every line."""
    text = io.StringIO()
    lines = [_flat(row) | facts._asdict() for row in found]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(safe_row, lines))
    return text.getvalue()


def _flat(row: TableRow) -> dict[str, Any]:
    flat: dict[str, Any] = row.setting._asdict()
    for who, figures in (("baseline", row.baseline), ("didicm", row.didicm)):
        flat |= {f"{who}_{k}": figures[v] if figures else "" for k, v in _FIGURES.items()}
    for who in Reported._fields:
        tops = getattr(row.reported, who) if row.reported else ("", "")
        for name, percent in zip(("top1", "top5"), tops, strict=True):
            flat[f"reported_{who}_{name}"] = percent and round(percent / 100, 4)
    return flat
