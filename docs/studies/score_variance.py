"""Where the noise in the gradient of raw scores comes from, and what it does to the probabilities.

python score_variance.py OUTPUT.jsonl FIGURE.png [--seeds 3]

Noisy handwritten digits of 8 x 8 pixels, the small residual network, on one CPU thread. A line of
the output for every training and for every measurement; what the output has is not run again.
"""

import argparse
import math
from collections import defaultdict
from pathlib import Path

import json_lines
import numpy as np
import torch
from matplotlib.figure import Figure

from skdidicm import DiDiClassifier
from skdidicm.backend import Batch
from skdidicm.core import EPS_T, LogLinear, UniformProcess
from skdidicm.core.arrays import draw
from skdidicm.fit.training import draw_levels
from skdidicm.metrics import negative_log_likelihood
from skdidicm.plotting.canvas import OTHER_COLOR, cycle_styles, tidy
from skdidicm.study.data import load
from skdidicm.study.grid import Cell

N, NOISE, K = 300, 1.5, 10
PROCESS, SCHEDULE = UniformProcess(K), LogLinear()
SCORE = {"parameterization": "score", "conditioning": "head"}
FORMS = {
    "scores, 1 draw": SCORE | {"n_draws": 1},
    "scores, 4 draws": SCORE | {"n_draws": 4},
    "scores, 16 draws": SCORE | {"n_draws": 16},
    "scores, 64 draws": SCORE | {"n_draws": 64},
    "posterior, 64 draws": {
        "parameterization": "posterior",
        "objective": "score_entropy",
        "conditioning": "head",
        "n_draws": 64,
    },
    "plain network": {"conditioning": "none"},
}
SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
DRAWS = (1, 4, 16, 64)
TIMES = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)


def trained(split, seed, form, look):
    """Train one network for all epochs, without a trial, and return it."""
    classifier = DiDiClassifier(
        random_state=seed, choose_epochs=False, mixup=0.0, augment=None, callbacks=[look],
        device="cpu", **FORMS[form],
    )  # fmt: skip
    return classifier.fit(split.X_train, split.y_train)


def nll(proba, labels):
    return float(negative_log_likelihood(np.eye(K)[labels], proba).mean())


def learning_curve(split, seed, form):
    """NLL of training and test rows during a training."""
    found = []

    def look(classifier, row):
        ends = {math.ceil(share * classifier.max_epochs_) for share in SHARES}
        if row["epoch"] in ends:
            values = [
                nll(classifier.predict_proba(x), y)
                for x, y in ((split.X_train, split.y_train), (split.X_test, split.y_test))
            ]
            found.append([row["epoch"] / classifier.max_epochs_, *values])

    classifier = trained(split, seed, form, look)
    return {"curve": found, "levels": levels(classifier, split) if "scores" in form else None}


def levels(classifier, split):
    """NLL of the posterior that each noise level implies, of their mean, and of the sampler."""
    network = classifier.network_
    features, found, parts = network.encode(split.X_test), {}, []
    for t in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9):
        sigma = SCHEDULE.total(np.array([t]))[0]
        p = np.zeros((len(split.X_test), K))
        for label in range(K):
            labels = torch.full((len(p),), label)
            scores = network.log_score(features, labels, torch.full((len(p),), float(sigma)))
            q_t = torch.softmax(scores.double(), dim=1).numpy()
            p += np.asarray(PROCESS.undiffuse(q_t, sigma)) / K
        found[f"t = {t}"] = nll(p, split.y_test)
        parts.append(p)
    found["mean of the levels"] = nll(np.mean(parts, axis=0), split.y_test)
    for solver in ("euler", "bridge"):
        proba = classifier.set_params(solver=solver).predict_proba(split.X_test)
        found[f"8 steps, {solver}"] = nll(proba, split.y_test)
    return found


def gradient(network, batch):
    """Return the gradient of the loss of a batch with respect to all weights, as one vector."""
    module = network.module
    module.train()
    module.zero_grad()
    network._batch_loss(
        network._prepare(batch.x),
        network.start(batch.target),
        torch.tensor(batch.label, dtype=torch.int64),
        network.start(batch.sigma),
        network.start(batch.weight),
        [],
    ).backward()
    return torch.cat([p.grad.flatten() for p in module.parameters()]).numpy().astype(float)


def noisy(x, q_0, t, labels):
    """Return a batch with noise at times t (n or 1, m); `labels` is a generator, or "all"."""
    n, m = len(x), t.shape[1]
    sigma = SCHEDULE.total(t)
    weight = np.broadcast_to(SCHEDULE.rate(t) / (n * m), (n, m))
    q_t = PROCESS.diffuse(np.broadcast_to(q_0[:, None], (n, m, K)), sigma)
    if isinstance(labels, str):
        label = np.tile(np.arange(K), (1, m))
        weight = (weight[..., None] * q_t).reshape(n, -1)
        return Batch(x, q_0, label.astype(np.int32), np.repeat(sigma, K, axis=1), weight)
    return Batch(x, q_0, draw(q_t, labels.random((n, m))).astype(np.int32), sigma, weight)


def stratified(rng, n, m):
    """Return times (n, m), stratified as in training."""
    return EPS_T + (1 - EPS_T) * draw_levels(rng, n, m)


def variance(split, seed, repeats=40):
    """Return the noise of the gradient: by number of draws, by time, and by choice of the rows.

    All are mean squared distances from the gradient that is exact for the rows, as shares of its
    squared length.
    """
    rng, kept = np.random.default_rng(seed), {}

    def look(classifier, row):  # after a quarter of the training
        if row["epoch"] == math.ceil(classifier.max_epochs_ / 4):
            kept["network"] = classifier.network_
            return True
        return False

    trained(split, seed, "scores, 16 draws", look)
    network = kept["network"]
    rows = rng.permutation(N)[:64]
    x, q_0 = split.X_train[rows], np.eye(K)[split.y_train[rows]]
    grid = (EPS_T + (1 - EPS_T) * (np.arange(256) + 0.5) / 256)[None]
    exact = gradient(network, noisy(x, q_0, grid, "all"))
    length = exact @ exact

    def spread(times, labels):
        found = [gradient(network, noisy(x, q_0, times(), labels)) for _ in range(repeats)]
        return float(np.mean([np.square(g - exact).sum() for g in found]) / length)

    result = {}
    for m in DRAWS:
        result[f"own levels, {m}"] = spread(lambda m=m: stratified(rng, 64, m), rng)
        result[f"shared levels, {m}"] = spread(lambda m=m: stratified(rng, 1, m), rng)
        result[f"shared levels, all labels, {m}"] = spread(lambda m=m: stratified(rng, 1, m), "all")
        result[f"independent levels, {m}"] = spread(
            lambda m=m: EPS_T + (1 - EPS_T) * rng.random((64, m)), rng
        )
    by_time = []
    for t in TIMES:
        at = np.full((1, 1), t)
        mean = gradient(network, noisy(x, q_0, at, "all"))
        own = [gradient(network, noisy(x, q_0, at, rng)) for _ in range(repeats)]
        of_labels = float(np.mean([np.square(g - mean).sum() for g in own]))
        by_time.append([t, float(mean @ mean) / length, of_labels / length])
    others = []
    for _ in range(repeats):
        rows = rng.permutation(N)[:64]
        x_b, q_b = split.X_train[rows], np.eye(K)[split.y_train[rows]]
        others.append(gradient(network, noisy(x_b, q_b, grid[:, ::8], "all")))
    mean = np.mean(others, axis=0)
    choice = np.mean([np.square(g - mean).sum() for g in others]) / (mean @ mean)
    return {"variance": result, "by_time": by_time, "rows": float(choice)}


def plot(lines, output):
    figure = Figure(figsize=(11, 3.7), layout="constrained", dpi=110)
    left, middle, right = figure.subplots(1, 3)
    noise = [line for line in lines if "variance" in line]
    for label, style in (("own levels", "o-"), ("shared levels", "s-"),
                         ("shared levels, all labels", "^-")):  # fmt: skip
        values = [np.mean([line["variance"][f"{label}, {m}"] for line in noise]) for m in DRAWS]
        left.loglog(DRAWS, values, style, label=label, markersize=4)
    rows = np.mean([line["rows"] for line in noise])
    left.axhline(rows, color=OTHER_COLOR, linestyle=":", label="choice of the 64 rows")
    left.set(xlabel="draws (levels) per row", ylabel="variance / squared length of the gradient")
    times = np.mean([line["by_time"] for line in noise], axis=0)
    middle.semilogy(times[:, 0], times[:, 2], "o-", markersize=4, label="drawing the label at t")
    middle.semilogy(times[:, 0], times[:, 1], "s-", markersize=4, label="the mean gradient at t")
    middle.set(xlabel="t", ylabel="relative to the whole gradient, squared")
    cycle_styles(right)
    curves = defaultdict(list)
    for line in lines:
        if "curve" in line:
            curves[line["form"]].append(line["curve"])
    for form in FORMS:
        share, _, test = np.mean(curves[form], axis=0).T
        color = OTHER_COLOR if form == "plain network" else None
        right.plot(share, test, marker="o", markersize=4, label=form, color=color)
    right.set(xlabel="share of the updates", ylabel="NLL of test rows")
    for ax in (left, middle, right):
        ax.legend(fontsize=7)
        tidy(ax)
    figure.savefig(output)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("figure")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.output
    lines = json_lines.read(path)
    done = {(line["seed"], line["form"]) for line in lines}
    for seed in range(arguments.seeds):
        split = load(Cell("digits", N, NOISE, None, seed, ""))
        for form in ("variance", *FORMS):
            if (seed, form) in done:
                continue
            found = (
                variance(split, seed) if form == "variance" else learning_curve(split, seed, form)
            )
            lines.append({"seed": seed, "form": form} | found)
            json_lines.append(path, lines[-1])
    plot(lines, arguments.figure)


if __name__ == "__main__":
    main()
