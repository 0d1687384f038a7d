"""Draw the figure of the user guide from the outputs of coverage.py and unfamiliar_rows.py.

python answers_figure.py coverage.jsonl unfamiliar.jsonl OUTPUT.png
"""

import sys
from collections import defaultdict

import json_lines
import numpy as np
from matplotlib.figure import Figure

from skdidicm.plotting.canvas import OTHER_COLOR, TRUE_COLOR, WRONG_COLOR, cycle_styles, tidy

METHODS = {"familiarity": TRUE_COLOR, "entropy": WRONG_COLOR, "isolation forest": OTHER_COLOR}
NAMES = {"Fashion-MNIST": "Fashion", "breast cancer": "cancer", "digits 0 to 7": "digits 0-7"}


def draw_coverage(ax, lines):
    found = defaultdict(list)
    for line in lines:
        for row in line["rows"]:
            if row["method"] == "lac":
                found[line["data"], row["level"]].append(row["coverage"])
    cycle_styles(ax)
    ax.plot([77, 98], [77, 98], color=OTHER_COLOR, linestyle=":")
    for shift, name in enumerate(sorted({name for name, _ in found})):
        levels = sorted(level for data, level in found if data == name)
        values = [100 * np.array(found[name, level]) for level in levels]
        error = [2 * v.std(ddof=1) / np.sqrt(len(v)) for v in values]
        place = 100 * np.array(levels) + 0.4 * shift - 0.6
        means = [v.mean() for v in values]
        ax.errorbar(place, means, error, marker="o", markersize=4, capsize=2, label=name)
    ax.set(xlabel="Wanted coverage (%)", ylabel="Measured coverage (%)")
    ax.legend(fontsize=8)


def draw_unfamiliar(ax, lines):
    found = defaultdict(list)
    for line in lines:
        name = NAMES.get(line["data"], line["data"])
        for method in METHODS:
            found[f"{name}: {line['kind']}", method].append(line[method])
    names = list(dict.fromkeys(name for name, _ in found))
    for i, (method, color) in enumerate(METHODS.items()):
        means = [np.mean(found[name, method]) for name in names]
        place = np.arange(len(names)) + 0.27 * (i - 1)
        ax.barh(place, means, height=0.25, color=color, label=method)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel="AUROC against new rows of the same kind")
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3, frameon=False)


def main(coverage, unfamiliar, output):
    figure = Figure(figsize=(9, 4.2), layout="constrained", dpi=110)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    draw_coverage(left, json_lines.read(coverage))
    draw_unfamiliar(right, json_lines.read(unfamiliar))
    tidy(left)
    tidy(right)
    figure.savefig(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
