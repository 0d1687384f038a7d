"""The paper's table in small: 1,000 kanji by resolution, share of the data and augmentation.

    python docs/studies/kanji.py run kanji.jsonl
    python docs/studies/kanji.py show kanji.jsonl
    python docs/studies/kanji.py draw kanji.jsonl --picture kanji.png

A class is a character in the installed typefaces, with Gaussian noise of half a standard
deviation. All methods have the network, the optimiser and the seconds of training in common; the
updates that fit are found from the first ones. A tenth of the training rows is held out: it chooses
among four stops and the averaged and the last weights, and the temperature. A run that was stopped
continues.
"""

import argparse
import copy
import itertools
import math
import time
from dataclasses import replace
from pathlib import Path

import json_lines
import numpy as np
import torch
from skdidicm_torch.imagenet.data import Images
from skdidicm_torch.imagenet.engine import Engine
from skdidicm_torch.imagenet.evaluation import posterior_path
from skdidicm_torch.imagenet.processes import TorchCommunicator
from torch.nn import functional

from skdidicm.datasets import Split
from skdidicm.imagenet.recipes import resolve
from skdidicm.metrics import score_probabilities
from skdidicm.predict.temperature import best_temperature, tempered
from skdidicm.study.fonts import kanji, load_fonts

NOISE, HELD_OUT, CHECKS, TRIED = 0.5, 0.1, 4, 20
STRONG = {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1}
CELL = ("classes", "pixels", "ratio", "augmentation", "method", "seed")
FAST = {
    "objective": "bayes_cross_entropy",
    "conditioning": "last",
    "times": "log_odds",
    "eps_t": 1e-3,
}
METHODS = {
    "cross-entropy": {"objective": "cross_entropy"},
    "helpers": {"objective": "cross_entropy", "mixup": 0.1},
    "paper": {"conditioning": "blocks"},
    "scores": {"conditioning": "head", "n_draws": 16, "mixup": 0.1},
    "fast": {**FAST, "mixup": 0.1},
    "fast-4": {**FAST, "n_draws": 4, "mixup": 0.1},
    "uniform": {**FAST, "times": "uniform", "mixup": 0.1},
    "uniform-4": {**FAST, "times": "uniform", "n_draws": 4, "mixup": 0.1},
    "score-entropy": {
        "parameterization": "posterior",
        "conditioning": "head",
        "n_draws": 8,
        "times": "log_odds",
        "eps_t": 1e-3,
        "mixup": 0.1,
    },
}
"""Settings of `train imagenet`; the strong recipe replaces the mixup."""


def drawings(folder, n_classes):
    """Return kanji in 48 pixels; the first run draws them and writes a file into the folder."""
    file = Path(folder) / f"kanji-{n_classes}.npz"
    if not file.exists():
        np.savez_compressed(file, **load_fonts(0, kanji(n_classes))._asdict())
    with np.load(file) as held:
        return Split(**held)


def noisy(split, pixels, ratio, seed):
    """Return training, held-out and test rows, uint8, the first two from a share of each class."""
    rng = np.random.default_rng(seed)
    block = split.X_train.shape[1] // pixels
    shape = (-1, pixels, block, pixels, block)
    parts = [x.reshape(shape).mean((2, 4), dtype=np.float32) for x in (split.X_train, split.X_test)]
    scale = parts[0].std()
    parts = [x + NOISE * scale * rng.standard_normal(x.shape, np.float32) for x in parts]
    x, x_test = (np.clip(64 + x / 2, 0, 255).round().astype(np.uint8) for x in parts)
    order = rng.permutation(len(x))
    kept = np.empty(len(x), bool)
    for label in np.unique(split.y_train):
        own = order[split.y_train[order] == label]
        kept[own] = np.arange(len(own)) / len(own) < ratio
    rows = order[kept[order]]
    n_held = round(HELD_OUT * len(rows))
    held, rest = rows[:n_held], rows[n_held:]
    return (x[rest], split.y_train[rest]), (x[held], split.y_train[held]), (x_test, split.y_test)


def shifted(x, generator):
    """Return pictures (n, h, w) moved by up to an eighth of their side, the border repeated."""
    n, side = x.shape[:2]
    reach = max(1, side // 8)
    dy, dx = (torch.randint(-reach, reach + 1, (n, 1), generator=generator) for _ in range(2))
    at = torch.arange(side)[None]
    rows, columns = (at + dy).clamp(0, side - 1), (at + dx).clamp(0, side - 1)
    return x[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def turned(x, generator):
    """Return pictures turned by up to 15 degrees, and made up to 15% larger, smaller and askew."""
    n = len(x)
    angle = (2 * torch.rand(n, generator=generator) - 1) * math.pi / 12
    stretch = 1 + 0.15 * (2 * torch.rand(n, 2, generator=generator) - 1)
    shear = 0.15 * (2 * torch.rand(n, generator=generator) - 1)
    turn = torch.stack([angle.cos(), -angle.sin() + shear, angle.sin(), angle.cos()], 1)
    matrix = turn.reshape(n, 2, 2) * stretch[:, None]
    theta = torch.cat([matrix, torch.zeros(n, 2, 1)], dim=2)
    grid = functional.affine_grid(theta, [n, 1, *x.shape[1:]], align_corners=False)
    moved = functional.grid_sample(
        x[:, None].float(), grid, padding_mode="border", align_corners=False
    )
    return moved[:, 0].round().to(torch.uint8)


class Course:
    """One training: its batches, updates and predictions."""

    def __init__(self, args, data, pixels, strong, method, seed):
        self.rows = torch.tensor(data[0]), torch.tensor(data[1])
        self.strong, self.batch = strong, args.batch
        self.per_epoch = len(self.rows[0]) // args.batch
        self.n_classes = int(data[1].max()) + 1
        flags = {**METHODS[method], **(STRONG if strong else {})}
        self.flags = {
            "data": "kanji",
            "model": args.model,
            "resolution": pixels,
            "n_classes": self.n_classes,
            "device": "cpu",
            "batch_size": args.batch,
            "global_batch": args.batch,
            "workers": 0,
            "color_jitter": 0.0,
            "optimizer": "adamw",
            "learning_rate": args.rate,
            "weight_decay": 0.05,
            "seed": seed,
            **flags,
        }
        self.generator = torch.Generator().manual_seed(seed)
        self.stream = self.batches()

    def start(self, updates):
        """Return an engine for a number of updates."""
        epochs = max(1, round(updates / self.per_epoch))
        ema = 1 - 1 / max(10, 0.05 * updates)
        config = resolve(
            {**self.flags, "epochs": epochs, "warmup_epochs": min(5.0, 0.1 * epochs), "ema": ema}
        ).config
        comm = TorchCommunicator(0, 1, torch.device("cpu"))
        return Engine(config, self.n_classes, comm, self.per_epoch), epochs * self.per_epoch

    def batches(self):
        """Yield augmented batches, epoch after epoch."""
        x, y = self.rows
        while True:
            for rows in torch.randperm(len(x), generator=self.generator).split(self.batch):
                if len(rows) == self.batch:
                    pictures = x[rows]
                    if self.strong:
                        pictures = turned(pictures, self.generator)
                    pictures = shifted(pictures, self.generator)[:, None]
                    yield [Images(pictures.expand(-1, 3, -1, -1).contiguous(), y[rows], [])]

    def update_seconds(self):
        """Return the CPU seconds of an update."""
        engine, _ = self.start(1000)
        for i in range(2 * TRIED):
            if i == TRIED:
                start = time.process_time()
            engine.train_update(next(self.stream))
        return (time.process_time() - start) / TRIED


@torch.inference_mode()
def probabilities(engine, network, x, steps):
    """Return probabilities (n, k) of pictures (n, h, w)."""
    network.eval()
    config, found = replace(engine.config, steps=steps), []
    for part in torch.tensor(x).split(1000):
        pictures = part[:, None].expand(-1, 3, -1, -1)
        path = posterior_path(
            network, pictures, config, engine.process, engine.schedule, engine.prepare
        )
        found.append(path[:, -1].double().numpy())
    p = np.concatenate(found)
    return p / p.sum(axis=1, keepdims=True)


def measured(args, cell):
    """Train once; return the row of results."""
    n_classes, pixels, ratio, augmentation, method, seed = cell
    split = drawings(args.drawings, n_classes)
    train, held, test = noisy(split, pixels, ratio, seed)
    course = Course(args, train, pixels, augmentation == "strong", method, seed)
    each = course.update_seconds()
    wanted = args.seconds / each if args.epochs is None else args.epochs * course.per_epoch
    engine, n_updates = course.start(wanted)
    plain = engine.config.objective == "cross_entropy"
    steps = 1 if plain else 8
    target, best, seconds = np.eye(course.n_classes)[held[1]], None, 0.0
    checks = [round(n_updates * (i + 1) / CHECKS) for i in range(CHECKS)]
    for update in range(1, n_updates + 1):
        start = time.process_time()
        engine.train_update(next(course.stream))
        seconds += time.process_time() - start
        if update not in checks:
            continue
        candidates = {"averaged": engine.evaluated}
        if update == n_updates:
            candidates["last"] = engine.module
        for weights, network in candidates.items():
            temperature, nll = best_temperature(
                probabilities(engine, network, held[0], steps), target
            )
            if best is None or nll < best[0]:
                kept = copy.deepcopy(network)
                best = (nll, kept, temperature, f"{weights} at {update / n_updates:.2f}")
    _, network, temperature, choice = best
    row = {
        **dict(zip(CELL, cell, strict=True)),
        "n": len(train[0]),
        "updates": n_updates,
        "epochs": n_updates / course.per_epoch,
        "seconds": seconds,
        "choice": choice,
        "temperature": temperature,
        "last": scores(probabilities(engine, engine.module, test[0], steps), test[1]),
    }
    for n_steps in (1,) if plain else (2, 8):
        p = tempered(probabilities(engine, network, test[0], n_steps), temperature)
        row[f"chosen, {n_steps} steps"] = scores(p, test[1])
    return row


def scores(p, y):
    """Return the scores of probabilities, with the NLL at the best temperature."""
    found = {name: float(value) for name, value in score_probabilities(y, p).items()}
    return {**found, "nll_oracle": best_temperature(p, np.eye(p.shape[1])[y])[1]}


def main():
    """Run the grid, print its table, or draw it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("run", "show", "draw"))
    parser.add_argument("file")
    parser.add_argument("--picture", default="kanji.png")
    parser.add_argument("--drawings", default=".", help="folder to keep the drawings in")
    parser.add_argument("--classes", type=int, nargs="+", default=[1000])
    parser.add_argument("--pixels", type=int, nargs="+", default=[16, 12, 8])
    parser.add_argument("--ratios", type=float, nargs="+", default=[1.0, 0.5, 0.25])
    parser.add_argument("--augmentations", nargs="+", default=["weak", "strong"])
    parser.add_argument("--methods", nargs="+", default=["cross-entropy", "helpers", "fast"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU seconds of a training")
    parser.add_argument("--epochs", type=int, help="instead of seconds")
    parser.add_argument("--model", default="didirn-tiny")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=8e-3)
    args = parser.parse_args()
    if args.task == "run":
        run(args)
    else:
        {"show": show, "draw": draw}[args.task](json_lines.read(args.file), args)


def run(args):
    """Train what the file does not hold yet."""
    torch.set_num_threads(1)
    done = {tuple(row[name] for name in CELL) for row in json_lines.read(args.file)}
    for seed, *cell in itertools.product(
        args.seeds, args.classes, args.pixels, args.ratios, args.augmentations, args.methods
    ):
        if "strong" in cell and "helpers" in cell:
            continue  # "cross-entropy" has the mixing of the recipe
        if (*cell, seed) not in done:
            json_lines.append(args.file, measured(args, (*cell, seed)))


def chosen(row):
    """Return the scores of the stop, weights and temperature that held-out rows chose."""
    return row.get("chosen, 1 steps") or row["chosen, 8 steps"]


def show(rows, _):
    """Print a line for each training: accuracy, NLL and ECE of the last weights, then as chosen."""
    for row in rows:
        print(
            f"{row['classes']:4d} {row['pixels']:2d} {row['ratio']:.2f} {row['augmentation']:6} "
            f"{row['method']:14} {row['seed']} {row['epochs']:4.0f} {row['choice']:16}",
            *(
                f"  {100 * s['accuracy']:5.1f} {s['nll']:6.3f} {100 * s['ece']:5.1f}"
                for s in (row["last"], chosen(row))
            ),
        )


def draw(rows, args):
    """Draw accuracy by resolution and by share of the data."""
    from matplotlib.figure import Figure

    from skdidicm.plotting.canvas import cycle_styles, tidy

    names = {"cross-entropy": "plain network", "helpers": "with helpers", "fast": "diffusion"}
    found = {
        tuple(row[name] for name in CELL[1:5]): chosen(row)["accuracy"]
        for row in rows
        if row["classes"] == 1000 and row["seed"] == 0
    }
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for ax, at in ((left, 0), (right, 1)):
        cycle_styles(ax)
        for method, label in names.items():
            points = sorted(
                (cell[at], 100 * value)
                for cell, value in found.items()
                if cell[2:] == ("weak", method) and (cell[1] == 1 if at == 0 else cell[0] == 16)
            )
            ax.plot(*zip(*points, strict=True), marker="o", label=label)
        tidy(ax)
    left.set(xlabel="Pixels, all rows", ylabel="Accuracy (%)", xticks=args.pixels)
    right.set(xlabel="Share of the rows, 16 pixels", xticks=args.ratios)
    left.legend(fontsize=8)
    figure.savefig(args.picture, dpi=120)


if __name__ == "__main__":
    main()
