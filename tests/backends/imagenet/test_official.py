"""Checkpoints of the paper's code that are damaged or made to do harm."""

import json
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from skdidicm_torch.imagenet import read_official  # noqa: E402

pytestmark = pytest.mark.imagenet
SHAPES = Path(__file__).parents[2] / "data/didirn_state_shapes.json"


@pytest.fixture(scope="module")
def state():
    """Weights of a DiDiRN-18 with ten classes."""
    rng = torch.Generator().manual_seed(0)

    def make(name, shape):
        shape = [10 if size == 1000 else size for size in shape]
        return torch.rand(shape, generator=rng) if shape else torch.tensor(3)

    shapes = json.loads(SHAPES.read_text())["didirn18"]
    return {name: make(name, shape) for name, shape in shapes.items()}


@pytest.fixture
def write(tmp_path, state):
    """Write the weights with some changes; a function is called with the weight."""

    def make(**changes):
        new = dict(state)
        for name, change in changes.items():
            name = name.replace("__", ".")
            new[name] = change(new[name])
        path = tmp_path / "a.pth.tar"
        torch.save({"state_dict": new}, path)
        return path

    return make


def test_the_whole_state_is_read(write, state):
    name, weights = read_official(write())
    assert name == "didirn18"
    assert weights.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(weights[key], value.numpy())


def with_value(number):
    def change(weight):
        weight = weight.clone()
        weight.view(-1)[0] = number
        return weight

    return change


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "fc__bias",
            with_value(float("nan")),
            "damaged \\(fc.bias holds NaN or infinite",
        ),
        ("conv1__weight", with_value(float("inf")), "conv1.weight holds NaN or infinite values"),
        ("bn1__running_var", with_value(-1.0), "bn1.running_var holds negative variances"),
        ("fc__weight", lambda w: w.to(torch.complex64), "holds a complex tensor fc.weight"),
        ("fc__weight", lambda w: w.to_sparse(), "holds a sparse tensor fc.weight"),
        ("fc__weight", lambda w: w.to_sparse_csr(), "holds a sparse tensor fc.weight"),
        ("fc__weight", lambda w: w.to("meta"), "without values \\(meta\\), fc.weight"),
        ("fc__weight", lambda w: w.bool(), "a tensor of type torch.bool, fc.weight"),
        (
            "fc__weight",
            lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
            "holds a quantised tensor fc.weight|something else than tensors",
        ),
        ("fc__weight", lambda w: w[:, :5].clone(), "tensors that fit none of didirn18"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_not_plain_finite_numbers_are_refused(write, name, change, words):
    with pytest.raises(ValueError, match=words):
        read_official(write(**{name: change}))


@pytest.fixture
def little_memory():
    """Allow a gigabyte more than is taken."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def expanded(weight):
    return torch.zeros(1).expand(3 * 10**9, *weight.shape[1:])


@pytest.mark.parametrize("name", ["fc__weight", "layer1__0__conv1__weight"])
def test_expanded_tensors_are_refused_before_they_take_memory(write, little_memory, name):
    with pytest.raises(ValueError, match="more than the file has; expected weights that are"):
        read_official(write(**{name: expanded}))


def test_many_views_of_one_storage_are_refused(tmp_path, state):
    big = torch.zeros(max(value.numel() for value in state.values()))
    new = {
        name: big[: value.numel()].view(value.shape) if value.is_floating_point() else value
        for name, value in state.items()
    }
    torch.save({"state_dict": new}, tmp_path / "a.pth.tar")
    with pytest.raises(ValueError, match="more than the file has"):
        read_official(tmp_path / "a.pth.tar")


def test_a_compressed_file_is_refused_before_it_takes_memory(tmp_path):
    path = tmp_path / "a.pth.tar"
    torch.save({"state_dict": {"conv1.weight": torch.zeros(10**6)}}, path)
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(tmp_path / "bomb.pth.tar", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    with pytest.raises(ValueError, match="is compressed, which torch's files never are"):
        read_official(tmp_path / "bomb.pth.tar")


def test_flipped_bits_are_noticed(write):
    """A file of torch is a zip; all but its padding is covered by checksums or by its structure."""
    path, rng = write(), np.random.default_rng(0)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        largest = sorted(archive.infolist(), key=lambda member: -member.file_size)[:3]
    for member in largest:
        for _ in range(2):
            changed = bytearray(content)
            at = member.header_offset + 512 + int(rng.integers(member.file_size - 512))
            changed[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(changed)
            with pytest.raises(ValueError, match="does not match its checksum|Bad CRC"):
                read_official(path)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(write, part):
    path = write()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(ValueError, match="something else than tensors|is damaged"):
        read_official(path)


def test_the_older_format_of_torch_is_read_too(tmp_path, state):
    path = tmp_path / "a.pth.tar"
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    assert read_official(path)[0] == "didirn18"


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"state_dict": []},
        {"state_dict": {1: torch.zeros(1), "conv1.weight": torch.zeros(1)}},
        {"state_dict": {"conv1.weight": 3}},
        {"state_dict": {"conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(())}},
    ],
)
def test_other_contents_end_with_a_sentence(tmp_path, content):
    torch.save(content, tmp_path / "a.pth.tar")
    with pytest.raises(ValueError, match="holds no weights|fit none"):
        read_official(tmp_path / "a.pth.tar")
