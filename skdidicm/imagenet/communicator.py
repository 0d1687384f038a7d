"""How the processes of one run talk to each other; each trainer implements it for its framework."""

from typing import Any, Protocol

from numpy.typing import NDArray


class Communicator(Protocol):
    """One process of the group that shares a run, and its collective operations.

    Every collective operation must be called by all processes, in the same order.
    """

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def world(self) -> int:
        """The number of processes."""
        ...

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages for all."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        ...

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the elementwise sum over all processes."""
        ...

    def wait(self) -> None:
        """Block until all processes have called this."""
        ...
