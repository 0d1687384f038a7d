"""Signals: on SIGTERM or SIGINT a run saves before it exits."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

_SAME_PRESS = 1.0
"""Seconds. Under torchrun, Ctrl-C arrives twice: from the terminal and from torchrun."""


class Interrupted(SystemExit):
    """The run has saved and exits after a signal, with the exit code 128 + signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopRequest:
    """Records SIGTERM and SIGINT within its context; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.signal = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._record)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _record(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal == signal.SIGINT == number and now - self._since > _SAME_PRESS:
            raise KeyboardInterrupt
        self._since = now
        self.signal = number
