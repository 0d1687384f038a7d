"""SIGTERM and SIGINT save first, and end with codes of their own."""

import signal

import pytest

from skdidicm.imagenet import checkpoint as files

pytest.importorskip("timm")
pytestmark = pytest.mark.imagenet


@pytest.fixture
def stop_request():
    from skdidicm.imagenet.stopping import StopRequest

    return StopRequest()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_first_and_the_run_goes_on_to_the_same_end(
    four_epochs, train, strong, state_of, assert_same, tmp_path, number, code
):
    """It reaches the reading processes too, as from a terminal or a batch system."""
    run = train(tmp_path, log_every=1, workers=1, **strong)
    run.after("update 2/16")
    run.kill_group(number)
    assert run.wait() == code, run.text
    assert "Traceback" not in run.text
    update = files.read_values(files.newest(tmp_path))["update"]
    assert f"saved after update {update}; the same command resumes." in run.text
    assert 2 <= update < 16
    run = train(tmp_path, **strong)
    assert run.wait() == 0, run.text
    assert_same(state_of(tmp_path), state_of(four_epochs))


def test_a_request_is_remembered_and_handlers_are_given_back(stop_request):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_request as stop:
        assert stop.signal == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_ctrl_c_ends_at_once_but_one_that_arrives_twice_does_not(
    stop_request, monkeypatch
):
    """Under torchrun the terminal and torchrun both pass it on."""
    from skdidicm.imagenet import stopping

    seconds = iter([100.0, 100.2, 105.0])
    monkeypatch.setattr(stopping.time, "monotonic", lambda: next(seconds))
    with stop_request as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
