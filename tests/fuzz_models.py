"""Trials of what a user relies on: damaged and hostile files, killed saves, interrupted fits.

    python -m tests.fuzz_models 1100              damaged files
    python -m tests.fuzz_models --hostile         files made by hand to do harm
    python -m tests.fuzz_models --kills 100       processes killed while they save (POSIX only)
    python -m tests.fuzz_models --interrupts 60   fits interrupted anywhere

A damaged file must be refused in one sentence or give the very answers it was saved with. A file
whose checksums were made to fit again may also be another model, which must then be a whole one.
No file may take more than `MEMORY` or write anything. An interrupted fit leaves the earlier one.
"""

import contextlib
import copy
import hashlib
import io
import json
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import safetensors.numpy

from skdidicm import DiDiClassifier
from skdidicm.saving.persistence import ModelFileError

MEMORY = 2**30  # bytes beyond those of the process before; the files are of at most 2 MB

MEMBERS = "estimator.json", "weights.safetensors"
_GUARDS = "format", "weights_sha256"  # for these there are mutations of their own
HOSTILE = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, -0.5, 1e308, float("inf"), float("nan"), "", "auto",
    "../../escape", "O", "<U999999999", "f8,f8", [], {}, [[1]], [2**40, 2**40], [8192, 8192], [0],
    [-3], ["x"], [None], {"name": "loglinear", "eps": 2}, {"dtype": "V9", "values": [1]},
]  # fmt: skip


def make_models():
    """Return (bytes of a file, rows, their probabilities) for a table, with names, and images."""
    rng = np.random.default_rng(0)
    table, images = rng.normal(size=(12, 3)), rng.integers(0, 256, (12, 8, 8, 2), dtype=np.uint8)
    rates = np.ones((3, 3)) - 3 * np.eye(3)
    names = np.array(["ant", "bee", "cat"])[np.arange(12) % 3]
    fast = {"max_epochs": 1, "random_state": 0, "steps": 2}
    fitted = [
        (DiDiClassifier(**fast).fit(table, names), table),
        (DiDiClassifier(rate_matrix=rates, class_weight={0: 2.0, 1: 1, 2: 1}, **fast), table),
        (DiDiClassifier(sampler="cl", **fast).fit(images, np.arange(12) % 2 == 0), images),
    ]
    fitted[1][0].fit(table, np.arange(12) % 3)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for model, rows in fitted:
            path = Path(folder) / "model"
            model.save(path)
            found.append((path.read_bytes(), rows, model.predict_proba(rows)))
    return found


def flip_bits(content, rng):
    damaged = np.frombuffer(content, np.uint8).copy()
    for _ in range(rng.integers(1, 9)):
        in_zip = rng.random() < 0.5  # whose own structures are at both ends of the file
        place = rng.integers(400) * rng.choice([1, -1]) if in_zip else rng.integers(len(damaged))
        damaged[place] ^= 1 << rng.integers(8)
    return damaged.tobytes()


def truncate(content, rng):
    return content[: rng.integers(len(content))]


def cut_out(content, rng):
    start, stop = np.sort(rng.integers(0, len(content), 2))
    return content[:start] + content[stop:]


def insert(content, rng):
    place = rng.integers(len(content) + 1)
    return content[:place] + rng.bytes(rng.integers(1, 200)) + content[place:]


def random_bytes(content, rng):
    return rng.choice([b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)]) + rng.bytes(rng.integers(99))


def _unpack(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [archive.read(name) for name in MEMBERS]


def _pack(*members, compression=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


def rename_members(content, rng):
    """Let members point out of the folder, come twice, be missing, or be accompanied."""
    header, weights = _unpack(content)
    other = rng.choice(
        ["../escape", "../../escape", "/tmp/escape-of-skdidicm", "C:\\escape", "..\\escape",
         "nested/estimator.json", "pickle.pkl", *MEMBERS, "x" * 300, "\u2028"]
    )  # fmt: skip
    plain = list(zip(MEMBERS, (header, weights), strict=True))
    variants = [
        [*plain, (other, b"boo")], [(other, header), plain[1]], [plain[0], (other, weights)],
        plain[:1], [], [(other, b"")],
    ]  # fmt: skip
    return _pack(*variants[rng.integers(len(variants))])


def compress(content, rng):
    """Compress the members, perhaps around a bomb."""
    members = list(zip(MEMBERS, _unpack(content), strict=True))
    if rng.random() < 0.2:
        members[rng.integers(2)] = (MEMBERS[rng.integers(2)], bytes(2**26))
    method = rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    return _pack(*members, compression=int(method))


class Bomb:
    """Runs code when unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("../escape"),)


def pickled(content, rng):
    """Hide a pickle that would write a file."""
    header, weights = _unpack(content)
    bomb = pickle.dumps(Bomb())
    hidden = [
        bomb, _pack((MEMBERS[0], bomb), (MEMBERS[1], weights)), _pack(("data.pkl", bomb)),
        _pack((MEMBERS[0], _signed(json.loads(header), bomb)), (MEMBERS[1], bomb)),
    ]  # fmt: skip
    return hidden[rng.integers(len(hidden))]


def _signed(header, weights):
    return json.dumps(header | {"weights_sha256": hashlib.sha256(weights).hexdigest()})


def edit_json(content, rng):
    """Put something hostile into the JSON, and let the checksums fit."""
    text, weights = _unpack(content)
    header = json.loads(text)
    if rng.random() < 0.1:
        deep = rng.choice(["[" * 99_999, '{"format": 1e999}', "[]", "null", '"a"', "\ud800"])
        return _pack(
            (MEMBERS[0], str(deep).encode("utf-8", "surrogatepass")), (MEMBERS[1], weights)
        )
    for _ in range(rng.integers(1, 4)):
        place, key = header, rng.choice([k for k in header if k not in _GUARDS])
        while isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.integers(len(place))
        if isinstance(place, dict) and rng.random() < 0.2:
            del place[key]
            break
        place[key] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])
    return _pack((MEMBERS[0], json.dumps(header)), (MEMBERS[1], weights))


def newer_or_foreign(content, rng):
    text, weights = _unpack(content)
    changes = [{"format": 2}, {"format": 10**9}, {"class": "RandomForest"}, {"format": "1"}]
    header = json.dumps(json.loads(text) | changes[rng.integers(len(changes))])
    return _pack((MEMBERS[0], header), (MEMBERS[1], weights))


def edit_tensors(content, rng):
    """Change shape, type or presence of a tensor, and let the checksums fit."""
    text, weights = _unpack(content)
    tensors = safetensors.numpy.load(weights)
    name = rng.choice(list(tensors))
    kind = rng.choice([np.float16, np.float32, np.int64, np.bool_, np.uint8])
    change = rng.integers(6)
    if change == 0:
        tensors[name] = tensors[name].astype(kind)
    elif change == 1:
        tensors[name] = np.zeros((*tensors[name].shape, 2))
    elif change == 2:
        tensors["network.extra"] = np.zeros(3)
    elif change == 3:
        tensors["rate_matrix"] = rng.normal(size=(3, 3))
    elif change == 4:
        del tensors[name]
    weights = safetensors.numpy.save(tensors)
    if change == 5:  # a header that promises more than there is
        weights = weights.replace(b'"shape":[', b'"shape":[9', 1)
    return _pack((MEMBERS[0], _signed(json.loads(text), weights)), (MEMBERS[1], weights))


RESIGNED = edit_json, edit_tensors
MUTATIONS = (
    flip_bits, truncate, cut_out, insert, random_bytes, rename_members, compress, pickled,
    newer_or_foreign, *RESIGNED,
)  # fmt: skip


def outcome(path, rows, expected, *, resigned):
    """Load a file and return what became of it; AssertionError if that must not happen."""
    try:
        model = DiDiClassifier.load(path, device="cpu")
    except ModelFileError as error:
        text = str(error)
        assert len(text) < 700
        assert "\n" not in text, text
        assert str(path) in text, text
        assert "alloc" not in text, text  # frameworks say so when memory is short
        return "refused"
    if resigned and max(model.steps, model.n_chains) > 1000:
        return "another model"  # a slow one
    try:
        p = model.predict_proba(rows)
    except (ValueError, UserWarning):  # rows of another shape, or columns of other names
        if resigned:
            return "another model"
        raise
    if np.array_equal(p, expected):
        return "equal"
    assert resigned, "a damaged file was loaded and gives other answers"
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    return "another model"


def fuzz(n_trials, seed=0):
    """Load so many damaged files, and count what became of them by kind of damage."""
    models, counts = make_models(), Counter()
    limit_memory()
    with tempfile.TemporaryDirectory() as top, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(top) / "inner" / "victim"
        path.parent.mkdir()
        with contextlib.chdir(path.parent):
            for content, rows, expected in models:
                path.write_bytes(content)
                assert outcome(path, rows, expected, resigned=False) == "equal"
            for trial in range(n_trials):
                rng = np.random.default_rng([seed, trial])
                content, rows, expected = models[rng.integers(len(models))]
                mutation = MUTATIONS[trial % len(MUTATIONS)]
                path.write_bytes(mutation(content, rng))
                try:
                    found = outcome(path, rows, expected, resigned=mutation in RESIGNED)
                except BaseException as error:
                    error.add_note(f"seed {seed}, trial {trial}: {mutation.__name__}")
                    raise
                counts[f"{mutation.__name__}: {found}"] += 1
                assert sorted(Path(top).rglob("*")) == [path.parent, path], "something was written"
    assert not Path("/tmp/escape-of-skdidicm").exists()
    return dict(sorted(counts.items()))


def limit_memory():
    """Let this process have no more than `MEMORY` beyond what it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _deep(levels):
    return "[" * levels + "]" * levels


def hostile_files(content):
    """Yield (what it tries, file) made from the sound file of a table."""
    text, weights = _unpack(content)
    header, tensors = json.loads(text), safetensors.numpy.load(weights)

    def changed(**changes):
        return _pack((MEMBERS[0], json.dumps(header | changes)), (MEMBERS[1], weights))

    def part(name, **changes):
        return changed(**{name: header[name] | changes})

    def with_tensors(extra, **changes):
        packed = safetensors.numpy.save(tensors | extra)
        return _pack((MEMBERS[0], _signed(header | changes, packed)), (MEMBERS[1], packed))

    for columns in (2**17, 2**25, 2**40):
        yield f"{columns} columns", changed(input_shape=[columns])
    wide = {name: np.ones(2**17) for name in ("mean", "scale")}
    yield "many columns with moments", with_tensors(wide, input_shape=[2**17])
    yield "a large image", changed(input_shape=[8192, 8192, 1])
    yield "a negative shape", changed(input_shape=[-4])
    for name in (
        "timm/vit_giant_patch14_224", "timm/resnet152", "didirn152", "no-such-network",
        "timm/hf-hub:owner/name", "timm/../../escape", "timm/", "", "os.system",
    ):  # fmt: skip
        for conditioning in ("head", "none"):
            bad = part("config", network=name, conditioning=conditioning)
            yield f"network {name}, {conditioning}", bad
    giant = header["config"] | {"network": "timm/vit_giant_patch14_224", "conditioning": "none"}
    yield "a giant for images", changed(config=giant, input_shape=[224, 224, 1])
    labels = ("ant", "bee", "cat")
    for dtype in ("<U4096", "<U2", "<U99999999", "O", "f8,f8", "V9", "S3", "<M8[D]", "c16", "<f16"):
        yield f"classes of {dtype}", changed(classes={"dtype": dtype, "values": labels})
    many = [f"{i:06d}" for i in range(100_000)]
    yield "many wide names", changed(classes={"dtype": "<U4096", "values": many})
    yield "many names", changed(classes={"dtype": "<U6", "values": many})
    for values in ([], None, "abc", [[1], [2], [3]], [None] * 3, [{}] * 3, [1, "a", 2.5]):
        yield f"classes {values}", changed(classes={"dtype": "O", "values": values})
    for name, value in (
        ("steps", 10**9), ("steps", 10**30), ("n_chains", 10**12), ("temperature", 5e-324),
        ("random_state", 2**40), ("class_weight", [[[], 1]]), ("class_weight", "foo"),
        ("callbacks", ["os.system"]), ("augment", "os.system"), ("backend", "os"),
        ("backend", ["torch"]), ("unknown", 1), ("__class__", "x"),
    ):  # fmt: skip
        yield f"{name}={value}", part("parameters", **{name: value})
    for name, value in (
        ("history", "long"), ("history", [{"loss": {}}]), ("history", [[]]), ("trial", {}),
        ("history", [{"loss": 10**400}]), ("versions", []), ("versions", {"numpy": [1]}),
        ("n_members", 10**12), ("n_members", -1), ("n_iter", 1e308), ("max_epochs", None),
        ("seeds", {}), ("seeds", {"network": 10**400}), ("temperature", 5e-324),
        ("temperature", float("nan")), ("temperature_slope", float("nan")),
        ("temperature_slope", "1"), ("geometric_mean", []), ("feature_names_in", "abc"),
        ("feature_names_in", [1, 2, 3]), ("schedule", {"name": "loglinear", "eps": float("nan")}),
        ("schedule", {"name": ["loglinear"]}), ("schedule", {"name": "__init__"}),
        ("class", ["DiDiClassifier"]), ("format", float("nan")), ("format", -1),
    ):  # fmt: skip
        yield f"{name}: {value}", changed(**{name: value})
    for name in ("mean", "scale", "class_prior", next(iter(tensors.keys() - {"mean", "scale"}))):
        for value in (np.nan, np.inf, -np.inf, 1e300):
            spoiled = np.full(tensors[name].shape, value)
            yield f"{name} {value}", with_tensors({name: spoiled})
    yield "rates of NaN", with_tensors({"rate_matrix": np.full((3, 3), np.nan)})
    yield "no rates", with_tensors({"rate_matrix": np.zeros((3, 3))})
    yield "extreme rates", with_tensors({"rate_matrix": 3e307 * (np.ones((3, 3)) - 3 * np.eye(3))})
    yield "many empty tensors", with_tensors({f"e{i}": np.empty(0) for i in range(10_000)})
    yield "an empty tensor of any size", with_tensors({"e": np.empty((0, 2**40))})
    for deep in (_deep(99_999), '{"a":' * 99_999, '{"format": 1, "format": ' + "9" * 5000 + "}"):
        yield f"JSON {deep[:9]}", _pack((MEMBERS[0], deep), (MEMBERS[1], weights))
    for claim in (b"\xff" * 8, (2**40).to_bytes(8, "little"), b""):
        signed = _signed(header, claim + weights[8:])
        yield f"tensors {claim[:2]}", _pack((MEMBERS[0], signed), (MEMBERS[1], claim + weights[8:]))
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        bomb = ((MEMBERS[0], b" " * 2**28), (MEMBERS[1], weights))
        yield f"zip bomb {method}", _pack(*bomb, compression=method)
    yield "many members", _pack(*((f"m{i}", b"") for i in range(20_000)))
    yield "a pickle", pickle.dumps(Bomb())
    yield "a zip with a pickle", _pack(("data.pkl", pickle.dumps(Bomb())))


def attack():
    """Load every hostile file within bounds of memory, and count what became of them."""
    content, rows, expected = make_models()[0]
    counts = Counter()
    files = list(hostile_files(content))
    limit_memory()
    with tempfile.TemporaryDirectory() as top, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(top) / "inner" / "victim"
        path.parent.mkdir()
        with contextlib.chdir(path.parent):
            for name, hostile in files:
                assert len(hostile) < 2**22, name
                path.write_bytes(hostile)
                try:
                    counts[outcome(path, rows, expected, resigned=True)] += 1
                except BaseException as error:
                    error.add_note(name)
                    raise
                assert sorted(Path(top).rglob("*")) == [path.parent, path], "something was written"
    return dict(counts)


class Interruption:
    """Raises an error at the n-th call of a function of this library; else it counts the calls.

    Calls of other libraries are left out: torch's own context managers do not survive an error in
    their first line.
    """

    def __init__(self, at=None, error=None):
        self.n_calls, self.at, self.error = 0, at, error

    def __call__(self, frame, event, _):
        if event == "call" and f"{os.sep}skdidicm" in frame.f_code.co_filename:
            self.n_calls += 1
            if self.n_calls == self.at:
                sys.setprofile(None)
                raise self.error

    def around(self, call):
        """Call, and return the error that was raised, if any."""
        sys.setprofile(self)
        try:
            call()
        except (KeyboardInterrupt, OSError, ZeroDivisionError) as error:
            return error
        finally:
            sys.setprofile(None)
        return None


def interrupt(n_fits, seed=0):
    """Interrupt fits of a fitted estimator anywhere; it stays as it was, or the fit is complete."""
    rng, counts = np.random.default_rng(seed), Counter()
    table, labels = rng.normal(size=(40, 3)), np.arange(40) % 3
    kinds = {
        "fit": ({"early_stopping": True}, "fit"),
        "trial and ensemble": ({"max_epochs": 2, "choose_epochs": True, "ensemble": True}, "fit"),
        "warm start": ({"warm_start": True}, "fit"),
        "partial_fit": ({}, "partial_fit"),
    }
    errors = (KeyboardInterrupt, OSError, ZeroDivisionError)
    for i in range(n_fits):
        kind = list(kinds)[i % len(kinds)]
        settings, method = kinds[kind]
        fitted = DiDiClassifier(**{"max_epochs": 2, "random_state": i, "device": "cpu"} | settings)
        fitted.fit(table, labels)
        before = pickle.dumps(fitted)
        model, twin = pickle.loads(before), pickle.loads(before)
        expected, history = model.predict_proba(table), model.history_
        other = table[::-1] + 1

        def again(model, method=method, other=other):
            getattr(model, method)(other, labels)

        whole = Interruption()
        assert whole.around(lambda: again(twin)) is None  # noqa: B023 - called at once
        error = errors[rng.integers(len(errors))]("interrupted")
        at = int(rng.integers(1, whole.n_calls + 1))
        raised = Interruption(at, error).around(lambda: again(model))  # noqa: B023
        p, finished = model.predict_proba(table), twin.predict_proba(table)
        if raised is None or not np.array_equal(p, expected):
            assert np.array_equal(p, finished), (
                f"{kind}, call {at}: neither the old fit nor the new"
            )
            counts[f"{kind}: complete"] += 1
        else:
            assert model.history_ == history, f"{kind}, call {at}: another history"
            counts[f"{kind}: as before"] += 1
        again(model)  # nothing is left locked or half done
    return dict(sorted(counts.items()))


def kill(n_kills, seed=0):
    """Kill so many processes that save in a loop; the file is always one of two whole models."""
    rng, counts = np.random.default_rng(seed), Counter()
    rows = rng.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    models = [
        DiDiClassifier(max_epochs=1, random_state=i).fit(rows, np.arange(12) % 2) for i in (0, 1)
    ]
    answers = [model.predict_proba(rows) for model in models]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        models[0].save(path)
        for _ in range(n_kills):
            if (child := os.fork()) == 0:
                while True:
                    models[1].save(path)
                    models[0].save(path)
            time.sleep(rng.uniform(0.01, 0.4))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            p = DiDiClassifier.load(path).predict_proba(rows)
            found = [np.array_equal(p, answer) for answer in answers]
            assert any(found), "neither the old model nor the new one"
            counts["old" if found[0] else "new"] += 1
            for leftover in set(Path(folder).iterdir()) - {path}:
                counts["killed while writing"] += 1
                leftover.unlink()
    return dict(counts)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    task, *number = sys.argv[1:]
    tasks = {"--kills": kill, "--interrupts": interrupt, "--hostile": attack}
    found = tasks[task](*map(int, number)) if task in tasks else fuzz(int(task))
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
