"""Forms of the trainer on 1,000 kanji, in a grid of resolution and share of the data.

    python docs/studies/kanji.py kanji.npz --out kanji.jsonl --deadline 225

All jobs have about the same training time, found from the deadline, and share one GPU. The first
run draws the kanji with the installed fonts and writes kanji.npz. Noise of half a standard
deviation is added to every picture.
"""

import argparse
import math
import time
import traceback
from pathlib import Path

import json_lines
import numpy as np

START = time.time()

CELLS = [(16, 1.0), (8, 0.25), (8, 1.0), (16, 0.25)]
HELPERS = {"mixup": 0.1, "ema": 0.998}
BAYES = {"objective": "bayes_cross_entropy", "conditioning": "last", "n_draws": 4}
METHODS = {
    "cross-entropy": {"objective": "cross_entropy"},
    "cross-entropy, helpers": dict(objective="cross_entropy", label_smoothing=0.1, **HELPERS),
    "paper": {"conditioning": "blocks"},
    "score head 64, log odds": dict(
        conditioning="head", n_draws=64, times="log_odds", eps_t=1e-3, **HELPERS
    ),
    "posterior score entropy last 4, log odds": dict(
        parameterization="posterior",
        conditioning="last",
        n_draws=4,
        times="log_odds",
        eps_t=1e-3,
        **HELPERS,
    ),
    "bayes last 4": dict(eps_t=1e-3, **BAYES, **HELPERS),
    "bayes last 4, log odds": dict(times="log_odds", eps_t=1e-3, **BAYES, **HELPERS),
}
NOISE, SEED = 0.5, 0


def prepare(path):
    """Write the drawings of 1,000 kanji in 16 pixels."""
    from skdidicm.study.fonts import kanji, load_fonts

    split = load_fonts(SEED, kanji(1000))
    parts = {"y_train": split.y_train, "y_test": split.y_test}
    for name, x in (("x_train", split.X_train), ("x_test", split.X_test)):
        blocks = x.reshape(len(x), 16, 3, 16, 3).mean((2, 4))
        parts[name] = blocks.round().astype(np.uint8)
    np.savez_compressed(path, **parts)


def data(path, px, ratio, tiny):
    z = np.load(path)
    rng = np.random.default_rng(SEED)
    scale = z["x_train"].astype(np.float32).std()
    out = []
    for part in ("train", "test"):
        x, y = z["x_" + part].astype(np.float32), z["y_" + part].astype(np.int64)
        if tiny:
            keep = y < 20
            x, y = x[keep], y[keep]
        b = 16 // px
        x = x.reshape(len(x), px, b, px, b).mean((2, 4))
        x = x + NOISE * scale * rng.standard_normal(x.shape, np.float32)
        x = np.clip(64 + x * 0.5, 0, 255).round().astype(np.uint8)
        if part == "train" and ratio < 1:  # the first share of a permutation of every class
            own = [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]
            rows = np.sort(np.concatenate([i[: max(1, int(len(i) * ratio))] for i in own]))
            x, y = x[rows], y[rows]
        out += [x, y]
    return out


def shifted(x, px, gen):
    """Random shifts by up to an eighth of the side, with the border repeated; (n, h, w)."""
    import torch

    r = max(1, px // 8)
    n = len(x)
    dy, dx = (torch.randint(-r, r + 1, (n, 1), device=x.device, generator=gen) for _ in range(2))
    at = torch.arange(px, device=x.device)[None]
    rows, cols = (at + dy).clamp(0, px - 1), (at + dx).clamp(0, px - 1)
    return x[torch.arange(n, device=x.device)[:, None, None], rows[:, :, None], cols[:, None, :]]


def scores(p, y):
    from skdidicm.metrics import score_probabilities

    found = {k: float(v) for k, v in score_probabilities(y, p).items()}
    log_p = np.log(np.clip(p, 1e-12, 1))
    best = math.inf
    for temperature in np.geomspace(0.4, 4, 25):
        z = log_p / temperature
        z = z - z.max(1, keepdims=True)
        best = min(best, float((np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]).mean()))
    order = np.argsort(-p, axis=1)[:, :5]
    return {
        **found,
        "nll_best_temperature": best,
        "top5": float((order == y[:, None]).any(1).mean()),
    }


def job(args, px, ratio, method, seconds, hard):
    from dataclasses import replace

    import torch
    from skdidicm_torch.imagenet.data import Images
    from skdidicm_torch.imagenet.engine import Engine
    from skdidicm_torch.imagenet.evaluation import posterior_path
    from skdidicm_torch.imagenet.processes import TorchCommunicator

    from skdidicm.imagenet.recipes import resolve

    device = torch.device(args.device)
    xa, ya, xb, yb = data(args.npz, px, ratio, args.tiny)
    k = int(ya.max()) + 1
    batch = min(args.batch if ratio == 1 else args.batch // 2, len(xa) // 2 * 2)
    per_epoch = len(xa) // batch
    x, y = torch.tensor(xa, device=device), torch.tensor(ya, device=device)

    def config(updates):
        return resolve(
            {
                "data": "kanji",
                "model": args.model,
                "resolution": px,
                "n_classes": k,
                "device": args.device,
                "batch_size": batch,
                "global_batch": batch,
                "workers": 0,
                "optimizer": "adamw",
                "learning_rate": args.rate,
                "weight_decay": 0.05,
                "warmup_learning_rate": 1e-5,
                "epochs": max(1, math.ceil(updates / per_epoch)),
                "warmup_epochs": min(5.0, 0.1 * updates / per_epoch),
                "seed": args.seed,
                **METHODS[method],
            }
        ).config

    gen = torch.Generator(device).manual_seed(args.seed)

    def batches():
        while True:
            order = torch.randperm(len(x), device=device, generator=gen)
            for i in range(per_epoch):
                rows = order[i * batch : (i + 1) * batch]
                pixels = shifted(x[rows], px, gen)[:, None].expand(-1, 3, -1, -1).contiguous()
                yield [Images(pixels, y[rows], [])]

    def sync():
        if device.type == "cuda":
            torch.cuda.synchronize()

    stream = batches()
    comm = TorchCommunicator(0, 1, device)
    one = Engine(config(1000), k, comm, per_epoch)  # to measure the time of an update
    n_try = 4 if args.tiny else 40
    for i in range(2 * n_try):
        if i == n_try:
            sync()
            t0 = time.time()
        one.train_update(next(stream))
    sync()
    each = (time.time() - t0) / n_try
    planned = max(10, int(seconds / each))
    planned = max(1, round(planned / per_epoch)) * per_epoch
    cfg = config(planned)
    engine = Engine(cfg, k, comm, per_epoch)
    t0, done, loss = time.time(), 0, None
    while done < planned and (time.time() < hard or not done):
        loss = engine.train_update(next(stream))
        done += 1
        if done % 50 == 0:
            sync()
    sync()
    took = time.time() - t0
    net = engine.evaluated.eval()
    row = {
        "px": px,
        "ratio": ratio,
        "method": method,
        "seed": args.seed,
        "n_train": len(xa),
        "n_test": len(xb),
        "k": k,
        "model": args.model,
        "batch": batch,
        "updates": done,
        "planned": planned,
        "epochs": done / per_epoch,
        "seconds": took,
        "ms_calibrated": 1000 * each,
        "loss": float(loss),
        "settings": METHODS[method],
    }
    for steps in [1] if cfg.objective == "cross_entropy" else [1, 2, 8]:
        p = []
        with torch.inference_mode():
            for i in range(0, len(xb), 2048):
                pixels = torch.tensor(xb[i : i + 2048], device=device)[:, None].expand(
                    -1, 3, -1, -1
                )
                path = posterior_path(
                    net,
                    pixels,
                    replace(cfg, steps=steps),
                    engine.process,
                    engine.schedule,
                    engine.prepare,
                )
                p.append(path[:, -1].float().cpu().numpy().astype(np.float64))
        p = np.concatenate(p)
        p /= p.sum(1, keepdims=True)
        row[f"steps{steps}"] = scores(p, yb)
    row["at"] = time.time() - START
    return row


def worker(queue, args, seconds, end):
    import torch

    torch.set_num_threads(1 if args.device != "cpu" else 2)
    while True:
        item = queue.get()
        if item is None or time.time() > end - 12:
            return
        try:
            row = job(args, *item, seconds, min(time.time() + 1.3 * seconds + 8, end - 8))
        except Exception as error:
            row = {"job": item, "error": repr(error)[:500], "trace": traceback.format_exc()[-1500:]}
        json_lines.append(args.out, row)


def main():
    import multiprocessing as mp

    parser = argparse.ArgumentParser()
    parser.add_argument("npz")
    parser.add_argument("--out", required=True)
    parser.add_argument("--deadline", type=float, default=230.0)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="didirn18")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="training time of a job; 0: from the deadline"
    )
    parser.add_argument("--methods", default="")
    parser.add_argument("--cells", type=int, default=4)
    args = parser.parse_args()
    if not Path(args.npz).exists():
        prepare(args.npz)
    end = START + args.deadline
    names = [m for m in METHODS if not args.methods or any(m == w for w in args.methods.split(";"))]
    jobs = [(px, ratio, m) for px, ratio in CELLS[: args.cells] for m in names]
    rounds = math.ceil(len(jobs) / args.processes)
    seconds = args.seconds or max(1.0, (args.deadline - 22) / rounds - 10)
    context = mp.get_context("spawn")
    queue = context.Queue()
    for item in [*jobs, *[None] * args.processes]:
        queue.put(item)
    started = [
        context.Process(target=worker, args=(queue, args, seconds, end))
        for _ in range(args.processes)
    ]
    for p in started:
        p.start()
    for p in started:
        p.join(max(1.0, end - time.time()))
    for p in started:
        if p.is_alive():
            p.terminate()
    print("jobs", len(jobs), "seconds each", seconds, "all", time.time() - START)


if __name__ == "__main__":
    main()
