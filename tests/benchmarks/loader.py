"""Reading JPEGs for training against the limit: decoding and resizing alone on the same cores."""

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skdidicm_torch.imagenet.feed import Feed
from skdidicm_torch.imagenet.processes import TorchCommunicator
from skimage import data

from skdidicm.imagenet.recipes import resolve
from tests.benchmarks.timing import Row

N, SIZE, RESOLUTION, BATCH = 384, (500, 375), 224, 32
CASES = {
    "crops and flips": {"color_jitter": 0.0},
    "weak recipe": {"recipe": "weak"},
    "strong recipe": {"recipe": "strong"},
}
CORES = len(os.sched_getaffinity(0))


def rows():
    """Yield images/s of both, and their ratio, for crops and flips alone and for both recipes."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = make_pictures(Path(folder))
        for recipe, flags in CASES.items():
            rounds = [(decode_speed(files), feed_speed(folder, flags)) for _ in range(3)]
            limit, speed = (sorted(column)[1] for column in zip(*rounds, strict=True))
            yield Row(f"decode and resize alone, {CORES} cores: images/s", limit, "-")
            yield Row(f"loader, {recipe}, {CORES} workers: images/s", speed, "-")
            yield Row(f"loader, {recipe}, over the decode limit", speed / limit, ">= 0.9")


def make_pictures(folder):
    """Write photographs of ImageNet's usual size as JPEGs in its layout; return the files."""
    rng = np.random.default_rng(0)
    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    for split, n in (("train", N), ("val", 8)):
        for i in range(n):
            picture = Image.fromarray(photographs[i % 4]).resize((640, 480))
            x, y = rng.integers(0, 640 - SIZE[0]), rng.integers(0, 480 - SIZE[1])
            path = folder / split / f"class{i % 4}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.crop((x, y, x + SIZE[0], y + SIZE[1])).save(path, quality=92)
    return sorted((folder / "train").rglob("*.jpg"))


def decode_speed(files):
    """Return images/s of decoding and resizing, in threads since Pillow frees the lock for both."""

    def one(path):
        with Image.open(path) as picture:
            picture.convert("RGB").resize((RESOLUTION, RESOLUTION), Image.Resampling.BILINEAR)

    with ThreadPoolExecutor(CORES) as pool:
        start = time.perf_counter()
        list(pool.map(one, files))
        return len(files) / (time.perf_counter() - start)


def feed_speed(folder, case):
    """Return images/s of training batches, after the first, which start-up delays."""
    flags = {"data": folder, "batch_size": BATCH, "global_batch": BATCH, **case}
    config = resolve({**flags, "workers": CORES, "resolution": RESOLUTION}).config
    feed = Feed(config, TorchCommunicator(0, 1, torch.device("cpu")))
    list(feed.train(0, 0))
    start = time.perf_counter()
    n = sum(len(images.labels) for images in feed.train(1, 0))
    return n / (time.perf_counter() - start)
