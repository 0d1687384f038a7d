import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.checkpoint import Checkpoint, CheckpointError
from skdidicm.imagenet.config import FREE, RunConfig

VALUES = {
    "update": 7,
    "none": None,
    "yes": True,
    "rate": 0.1 + 0.2,
    "tiny": 5e-324,
    "text": "ä \n '\"",
    "rows": [{"epoch": 1, "figures": {"by_step": [0.25, 1.0]}}, []],
}


@pytest.fixture
def saved(rng):
    kinds = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
    tensors = {kind: (rng.random((3, 4)) * 100).astype(kind) for kind in kinds}
    tensors |= {
        "scalar": np.array(5, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "strided": rng.random((4, 6)).astype(np.float32).T,
        "special": np.array([np.nan, -0.0, np.inf, 1e-40], np.float32),
    }
    return Checkpoint(tensors, VALUES)


def put(folder, *updates):
    for update in updates:
        tensors = {"x": np.array([update])}
        files.write(files.path_of(folder, update), Checkpoint(tensors, {"update": update}))


def names(folder):
    return sorted(path.name for path in (folder / files.FOLDER).iterdir())


def test_every_dtype_shape_and_plain_value_comes_back(tmp_path, saved):
    files.write(tmp_path / "a.safetensors", saved)
    found = files.read(tmp_path / "a.safetensors")
    assert found.values == VALUES
    assert found.verified
    assert found.tensors.keys() == saved.tensors.keys()
    for name, expected in saved.tensors.items():
        actual = found.tensors[name]
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), name
        assert actual.tobytes() == expected.tobytes(), name
    assert files.read_values(tmp_path / "a.safetensors") == found.values


def test_values_that_json_lacks_are_refused_before_a_file_is_there(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write(tmp_path / "a.safetensors", Checkpoint({}, {"loss": float("nan")}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_says_so(tmp_path, saved, part):
    path = tmp_path / "a.safetensors"
    files.write(path, saved)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(CheckpointError, match="is not a checkpoint of skdidicm, or it is damaged"):
        files.read(path)


@pytest.mark.parametrize("at", [0, 3, 8, 20, 100])
def test_a_checkpoint_whose_header_was_changed_says_so(tmp_path, saved, at):
    path = tmp_path / "a.safetensors"
    files.write(path, saved)
    content = bytearray(path.read_bytes())
    content[at] ^= 0x80
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        files.read(path)


@pytest.mark.parametrize("content", [b"", b"hello" * 100, b"PK\x03\x04" + bytes(100)])
def test_a_foreign_file_says_so(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a checkpoint of skdidicm"):
        files.read(path)


@pytest.mark.parametrize("header", [None, "{", "null", "[1]", "3"])
def test_safetensors_of_other_programs_are_no_checkpoints(tmp_path, header):
    path = tmp_path / "a.safetensors"
    metadata = None if header is None else {"skdidicm": header}
    save_file({"x": np.zeros(3)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="not a checkpoint of skdidicm"):
        files.read(path)


def test_a_flipped_bit_is_noticed_in_every_byte(tmp_path, rng):
    path = tmp_path / "a.safetensors"
    saved = Checkpoint({"x": np.arange(6, dtype=np.float32), "y": np.ones(3, np.int8)}, VALUES)
    files.write(path, saved)
    content = path.read_bytes()
    unnoticed = []
    for at, bit in enumerate(rng.integers(0, 8, len(content))):
        changed = bytearray(content)
        changed[at] ^= 1 << int(bit)
        path.write_bytes(changed)
        try:
            files.read(path)
        except CheckpointError:
            continue
        unnoticed.append((at, bit))
    assert unnoticed == []


def test_values_alone_have_a_digest_of_their_own(tmp_path):
    path = tmp_path / "a.safetensors"
    files.write(path, Checkpoint({"x": np.zeros(100)}, {"update": 7}))
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"update\\": 7', b'\\"update\\": 8'))
    with pytest.raises(CheckpointError, match="its header does not match its checksum"):
        files.read_values(path)


def test_swapped_tensors_of_equal_shape_are_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    files.write(path, Checkpoint({"a": np.zeros(3), "b": np.ones(3)}, VALUES))
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    save_file({"a": np.ones(3), "b": np.zeros(3)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="its tensors do not match their checksum"):
        files.read(path)


def test_a_checkpoint_of_an_earlier_version_is_read_unverified(tmp_path):
    path = tmp_path / "a.safetensors"
    header = json.dumps({"format": 1, **VALUES})
    save_file({"x": np.arange(3)}, path, metadata={"skdidicm": header})
    found = files.read(path)
    assert not found.verified
    assert found.values == VALUES
    np.testing.assert_array_equal(found.tensors["x"], np.arange(3))


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


RUN = {
    "config": RunConfig(data="x").plain(),
    "classes": ["a", "b"],
    "history": [],
    "best": None,
    "seconds": [0.0, 0.0],
    "optimizer": {},
    "scaler": {},
}


def put_runs(folder, *updates):
    for update in updates:
        tensors = {"x": np.array([update]), files.LOSS: np.zeros(2, np.float32)}
        files.write(files.path_of(folder, update), Checkpoint(tensors, RUN | {"update": update}))


def test_the_newest_intact_checkpoint_comes_before_damaged_ones(tmp_path):
    assert files.newest_intact(tmp_path) is None
    put_runs(tmp_path, 5, 10, 15)
    found = files.newest_intact(tmp_path)
    assert (found.path, found.damaged) == (files.path_of(tmp_path, 15), [])
    damage(files.path_of(tmp_path, 15))
    damage(files.path_of(tmp_path, 10))
    found = files.newest_intact(tmp_path)
    assert found.path == files.path_of(tmp_path, 5)
    assert found.damaged == [files.path_of(tmp_path, update) for update in (15, 10)]
    assert found.saved.tensors["x"] == [5]


def test_the_best_checkpoint_is_the_last_resort(tmp_path):
    put_runs(tmp_path, 5)
    files.mark_best(tmp_path, files.path_of(tmp_path, 5))
    put_runs(tmp_path, 10)
    files.path_of(tmp_path, 5).unlink()
    damage(files.path_of(tmp_path, 10))
    assert files.newest_intact(tmp_path).path.name == files.BEST
    damage(tmp_path / files.FOLDER / files.BEST)
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints .* --resume never"):
        files.newest_intact(tmp_path)


def test_a_damaged_checkpoint_offers_the_newest_intact_one_with_its_option(tmp_path):
    folder = tmp_path / "a run"
    put_runs(folder, 5, 10, 15)
    damage(files.path_of(folder, 15))
    with pytest.raises(CheckpointError) as error:
        files.read_run(files.path_of(folder, 15))
    offered = files.path_of(folder, 10)
    assert str(error.value).endswith(f"pass --resume '{offered}'.")
    damage(files.path_of(folder, 10))
    damage(files.path_of(folder, 5))
    with pytest.raises(CheckpointError, match="No other checkpoint there is intact"):
        files.read_run(files.path_of(folder, 15))


def test_a_checkpoint_of_a_later_version_is_not_taken_for_damaged(tmp_path):
    put_runs(tmp_path, 5)
    path, header = files.path_of(tmp_path, 10), json.dumps({"format": 3})
    save_file({"x": np.zeros(3)}, path, metadata={"skdidicm": header})
    with pytest.raises(CheckpointError, match="has format 3"):
        files.newest_intact(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": [1]}, r"config is \[1\]; expected an object"),
        ({"config": {"epochs": "4"}}, "--epochs is '4'; expected <class 'int'>"),
        ({"config": {"epochs": True}}, "--epochs is True"),
        ({"config": {"epochs": 0}}, "--epochs is 0; expected 1 to"),
        ({"config": {"colour": 1}}, "'colour' is not a setting of this version"),
        ({"classes": "ab"}, "classes is 'ab'; expected a list of at least two names"),
        ({"classes": [1, 2]}, "expected a list of at least two names"),
        ({"history": {}}, "history is {}; expected a list of epochs"),
        (
            {"history": [{"epoch": 2, "update": 3}]},
            "epoch in row 1 of the history is 2; expected 1",
        ),
        ({"history": [{"epoch": 1}]}, "update in row 1 of the history is None"),
        ({"history": [{"epoch": 1, "update": 3, "loss": "low"}]}, "loss in row 1 of the history"),
        ({"history": [{"epoch": 1, "update": 3, "figures": []}]}, "expected an object"),
        (
            {"history": [{"epoch": 1, "update": 4}]},
            "update is 3; expected one after the last epoch",
        ),
        ({"best": "high"}, "best is 'high'; expected a finite number"),
        ({"seconds": [1]}, r"seconds is \[1\]; expected two numbers"),
        ({"update": -1}, "update is -1; expected a whole number from 0 on"),
        ({"update": 10**30}, "update is 10+; expected a whole number"),
        ({"update": 1.5}, "update is 1.5"),
        ({"optimizer": None}, "optimizer is None; expected an object"),
        ({"data": {"train": 3}}, "the fingerprint of the data is malformed"),
        (
            {"data": {"train": [["a", -1, {}]], "val": 1}},
            "the fingerprint of the data is malformed",
        ),
        ({"is_best": "yes"}, "is_best is 'yes'; expected true or false"),
    ],
)
def test_values_that_no_run_writes_end_with_a_sentence(tmp_path, change, words):
    path = tmp_path / "a.safetensors"
    files.write(path, Checkpoint({}, RUN | {"update": 3} | change))
    with pytest.raises(CheckpointError, match=words):
        files.read(path)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"format": 1, "best": NaN}', '{"best": 1e999}'])
def test_json_that_is_none_ends_with_a_sentence(tmp_path, text):
    path = tmp_path / "a.safetensors"
    save_file({"x": np.zeros(3)}, path, metadata={"skdidicm": text})
    with pytest.raises(CheckpointError, match="not a checkpoint of skdidicm"):
        files.read(path)


def test_a_checkpoint_of_a_later_version_names_its_format(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x": np.zeros(3)}, path, metadata={"skdidicm": json.dumps({"format": 3})})
    with pytest.raises(CheckpointError, match="has format 3, but this version reads up to 2"):
        files.read(path)


def test_weights_without_a_run_are_read_but_cannot_be_gone_on_from(tmp_path, saved):
    path = tmp_path / "a.safetensors"
    files.write(path, saved)
    with pytest.raises(CheckpointError, match="lacks config, classes, history"):
        files.read_run(path)


@pytest.mark.parametrize("name", ["none.safetensors", "."])
def test_a_missing_file_and_a_folder_end_with_a_sentence(tmp_path, name):
    with pytest.raises((FileNotFoundError, CheckpointError), match="checkpoint of skdidicm"):
        files.read(tmp_path / name)


def test_a_folder_keeps_its_last_checkpoints_and_the_best(tmp_path):
    put(tmp_path, 5, 10)
    files.mark_best(tmp_path, files.path_of(tmp_path, 5))
    put(tmp_path, 15, 100, 20)
    assert files.newest(tmp_path) == files.path_of(tmp_path, 100)
    files.thin(tmp_path, 2)
    assert names(tmp_path) == [
        "best.safetensors",
        "update-000000020.safetensors",
        "update-000000100.safetensors",
    ]
    assert files.locate(tmp_path) == files.path_of(tmp_path, 100)
    assert files.read_values(tmp_path / files.FOLDER / files.BEST)["update"] == 5


def test_the_best_is_a_copy_where_files_cannot_be_linked(tmp_path, monkeypatch):
    put(tmp_path, 5, 10)
    monkeypatch.setattr(files.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    for update in (5, 10):
        files.mark_best(tmp_path, files.path_of(tmp_path, update))
        assert files.read_values(tmp_path / files.FOLDER / files.BEST)["update"] == update


def test_marking_the_best_twice_leaves_nothing_behind(tmp_path):
    put(tmp_path, 5)
    for _ in range(2):
        files.mark_best(tmp_path, files.path_of(tmp_path, 5))
    assert names(tmp_path) == ["best.safetensors", "update-000000005.safetensors"]


def test_without_a_best_the_newest_is_located_and_a_file_is_itself(tmp_path):
    put(tmp_path, 5, 10)
    newest = files.path_of(tmp_path, 10)
    assert files.locate(tmp_path) == newest
    assert files.locate(files.path_of(tmp_path, 5)).name == "update-000000005.safetensors"


def test_a_folder_without_checkpoints_says_so(tmp_path):
    assert files.newest(tmp_path) is None
    with pytest.raises(FileNotFoundError, match="holds no checkpoint; expected a folder"):
        files.locate(tmp_path)


def test_what_a_crash_leaves_behind_is_no_checkpoint_and_is_removed(tmp_path):
    put(tmp_path, 5)
    for name in (".update-000000010.safetensors.partial", "update-10.safetensors", "notes.txt"):
        (tmp_path / files.FOLDER / name).write_bytes(b"half")
    assert files.newest(tmp_path) == files.path_of(tmp_path, 5)
    files.thin(tmp_path, 3)
    assert names(tmp_path) == ["notes.txt", "update-000000005.safetensors", "update-10.safetensors"]


def test_a_checkpoint_may_be_read_by_whoever_may_read_other_files_of_its_folder(tmp_path):
    put(tmp_path, 5)
    other = tmp_path / "other"
    other.touch()
    assert files.path_of(tmp_path, 5).stat().st_mode == other.stat().st_mode


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one_whole(tmp_path, monkeypatch):
    put(tmp_path, 5)
    path = files.path_of(tmp_path, 5)
    before = path.read_bytes()

    def full(file, content):
        file.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Path, "write_bytes", full)
    with pytest.raises(OSError, match="could not be written .*No space left.* earlier ones are"):
        put(tmp_path, 5)
    assert path.read_bytes() == before
    assert names(tmp_path) == [path.name]


def test_the_averaged_weights_are_evaluated_if_there_are_any():
    model = {"model.a": np.zeros(1), "optimizer.0.a": np.zeros(1)}
    average = {"average.a": np.ones(1)}
    assert files.evaluated_weights(Checkpoint(model, {})) == {"a": np.zeros(1)}
    assert files.evaluated_weights(Checkpoint(model | average, {})) == {"a": np.ones(1)}


def test_a_setting_that_decides_what_is_learnt_must_not_change(tmp_path):
    saved = RunConfig(learning_rate=0.1).plain()
    files.check_same(RunConfig(learning_rate=0.1, keep=9, stop_epoch=3), saved, tmp_path)
    with pytest.raises(ValueError, match=r"\(learning_rate 0\.1 -> 0\.2, seed 0 -> 4\)"):
        files.check_same(RunConfig(learning_rate=0.2, seed=4), saved, tmp_path)
    assert not FREE & {"seed", "learning_rate", "global_batch", "n_draws", "objective", "ema"}
