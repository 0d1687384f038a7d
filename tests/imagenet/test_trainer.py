from types import SimpleNamespace

import pytest

from skdidicm.imagenet import trainer as trainers
from skdidicm.imagenet.trainer import OfficialReader, get_official_reader, get_trainer


@pytest.fixture
def register(monkeypatch):
    """Make `load` the only registered trainer, under the name "mine"."""

    def make(load):
        point = SimpleNamespace(name="mine", load=load)
        monkeypatch.setattr(trainers.metadata, "entry_points", lambda group: [point])

    return make


def test_a_trainer_is_found_by_its_name(register):
    module = SimpleNamespace()
    register(lambda: module)
    assert get_trainer("mine") is module
    with pytest.raises(ValueError, match=r"backend 'yours' has no trainer .*; expected one of"):
        get_trainer("yours")


def test_a_trainer_without_its_packages_names_the_missing_one(register):
    def load():
        raise ModuleNotFoundError("No module named 'timm'", name="timm")

    register(load)
    with pytest.raises(ImportError, match="--backend mine needs timm for folders of pictures"):
        get_trainer("mine")


def test_only_a_trainer_that_reads_files_of_the_papers_code_imports_them(register):
    reader = SimpleNamespace(read_official=lambda path: ("didirn18", {}))
    register(lambda: reader)
    assert get_official_reader("mine") is reader
    register(SimpleNamespace)
    with pytest.raises(ValueError, match="needs torch, but --backend is mine; pass"):
        get_official_reader("mine")


def test_torch_reads_files_of_the_papers_code_and_keras_does_not():
    pytest.importorskip("timm")
    pytest.importorskip("skdidicm_keras.imagenet", exc_type=ImportError)
    assert isinstance(get_trainer("torch"), OfficialReader)
    assert not isinstance(get_trainer("keras"), OfficialReader)
