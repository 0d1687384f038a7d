"""Signals: a run that is asked to end saves first."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

_SAME_PRESS = 1.0
"""Seconds: Ctrl-C reaches a process twice under torchrun, by the terminal and by torchrun."""


class Interrupted(SystemExit):
    """The run was asked to end and has saved; the exit code tells by which signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopRequest:
    """Remembers SIGTERM and SIGINT while it is entered; the second SIGINT ends at once."""

    def __init__(self) -> None:
        self.signal = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal == signal.SIGINT == number and now - self._since > _SAME_PRESS:
            raise KeyboardInterrupt
        self._since = now
        self.signal = number
