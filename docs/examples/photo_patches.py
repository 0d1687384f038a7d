"""A small substitute for ImageNet: patches of photographs, in the folder layout for training.

A class is a photograph included in scikit-image, and an image is a square patch of it. Training
patches come from the left three fifths of a photograph and validation patches from the right third,
so that no pixel is in both. The task is for trying out commands; its results allow no conclusion
about ImageNet.

It needs scikit-image and Pillow: `python docs/examples/photo_patches.py FOLDER`.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
"""The photographs included in the package; none is downloaded."""

PARTS = {"train": (0.0, 0.6), "val": (2 / 3, 1.0)}
"""The part of a photograph's width that each split is cut from."""


def photograph(name):
    """Return a photograph of scikit-image in grey, so that colour does not reveal the class."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / name) as picture:
        return picture.convert("L")


def patches(picture, part, n, size, rng):
    """Return n square patches, of `size` pixels, from a part of a picture's width."""
    low, high = (round(share * picture.width) for share in part)
    lefts = rng.integers(low, high - size + 1, n)
    tops = rng.integers(0, picture.height - size + 1, n)
    return [
        picture.crop((left, top, left + size, top + size))
        for left, top in zip(lefts.tolist(), tops.tolist(), strict=True)
    ]


def write_tree(root, n_train=60, n_val=20, size=64, names=PHOTOGRAPHS, seed=0):
    """Write root/train/CLASS/*.jpg and root/val/CLASS/*.jpg: n_train and n_val for each class."""
    rng = np.random.default_rng(seed)
    for name in names:
        picture = photograph(name)
        for split, n in (("train", n_train), ("val", n_val)):
            folder = Path(root) / split / Path(name).stem
            folder.mkdir(parents=True, exist_ok=True)
            for i, patch in enumerate(patches(picture, PARTS[split], n, size, rng)):
                patch.save(folder / f"{i:04d}.jpg", quality=90)


def main():
    parser = argparse.ArgumentParser(description="Write patches of photographs as an image tree.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n-train", type=int, default=60, help="training patches of a class")
    parser.add_argument("--n-val", type=int, default=20, help="validation patches of a class")
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    arguments = parser.parse_args()
    write_tree(arguments.folder, arguments.n_train, arguments.n_val, arguments.size)


if __name__ == "__main__":
    main()
