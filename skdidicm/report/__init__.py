"""One HTML page about a run: `gather` computes what it says, `render` writes it."""

from skdidicm.report.facts import Facts, Test, gather
from skdidicm.report.page import render

__all__ = ["Facts", "Test", "gather", "render"]
