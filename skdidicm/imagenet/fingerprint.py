"""A fingerprint of a data set: classes, and number, names and sizes of the images of each."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

_SHOWN = 5  # differences in a message
_DIGITS = 16  # hexadecimal ones of a digest: 64 bits suffice against accidents


class ClassFingerprint(NamedTuple):
    """Number of images of a class, and a digest of their names and sizes ("" if unknown)."""

    n: int
    digest: str


@dataclass(frozen=True)
class Fingerprint:
    """The images of both splits, by class in the order of the class numbers."""

    train: Mapping[str, ClassFingerprint]
    val: Mapping[str, ClassFingerprint]

    def plain(self) -> dict[str, Any]:
        """Return JSON values; lists keep the order of the classes."""
        return {
            split: [[name, *one] for name, one in getattr(self, split).items()]
            for split in ("train", "val")
        }

    @classmethod
    def parse(cls, values: Any) -> "Fingerprint":
        """Return the fingerprint that `plain` described.

        Raises
        ------
        ValueError
            If the values are of another form.
        """
        try:
            splits = [
                {str(name): ClassFingerprint(int(n), str(digest)) for name, n, digest in values[s]}
                for s in ("train", "val")
            ]
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ValueError("the fingerprint of the data is malformed") from error
        return cls(*splits)


def fingerprint_split(
    classes: Sequence[str], images: Iterable[tuple[int, bytes, int]]
) -> dict[str, ClassFingerprint]:
    """Return the fingerprint of a split from class number, name and size of every image.

    An empty name means that names and sizes are unknown. The order of the images does not matter.
    """
    lines: list[list[bytes]] = [[] for _ in classes]
    known = True
    for label, name, size in images:
        known &= bool(name)
        lines[label].append(b"%d %s" % (size, name))
    return {
        name: ClassFingerprint(len(own), _digest(own) if known else "")
        for name, own in zip(classes, lines, strict=True)
    }


def _digest(lines: list[bytes]) -> str:
    return hashlib.sha256(b"\0".join(sorted(lines))).hexdigest()[:_DIGITS]


def encoded(name: str) -> bytes:
    """Return a file name as the same bytes on every system."""
    return os.fsencode(name.replace(os.sep, "/"))


def differences(saved: Fingerprint, now: Fingerprint) -> list[str]:
    """Return sentences on how data differ from saved ones; none if they do not.

    Examples
    --------
    >>> saved = Fingerprint({"cat": ClassFingerprint(40, "a")}, {})
    >>> differences(saved, Fingerprint({"cat": ClassFingerprint(39, "b")}, {}))
    ['train/cat has 39 images instead of 40']
    """
    found: list[str] = []
    for split in ("train", "val"):
        old, new = getattr(saved, split), getattr(now, split)
        found += [f"{split}/{name} is missing" for name in old if name not in new]
        found += [f"{split}/{name} is new" for name in new if name not in old]
        for name in old:
            if name in new:
                found += _difference(f"{split}/{name}", old[name], new[name])
        if not found and list(old) != list(new):
            found.append(f"the classes of {split} have another order")
    return found


def _difference(where: str, old: ClassFingerprint, new: ClassFingerprint) -> list[str]:
    if old.n != new.n:
        return [f"{where} has {new.n} images instead of {old.n}"]
    if old.digest and new.digest and old.digest != new.digest:
        return [f"{where} has images of other names or sizes"]
    return []


def shown(found: Sequence[str]) -> str:
    """Return the first few differences as one text."""
    more = len(found) - _SHOWN
    return "; ".join(found[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
