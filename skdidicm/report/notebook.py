"""What a notebook shows of a fitted estimator, below scikit-learn's own picture of it."""

from collections.abc import Iterable
from html import escape
from typing import Any

_MOST_NAMES = 12

_STYLE = """
.skdidicm-facts {font: 13px/1.4 sans-serif; margin: 6px 0}
.skdidicm-facts summary {cursor: pointer}
.skdidicm-facts th, .skdidicm-facts td {text-align: left; padding: 2px 14px 2px 0}
.skdidicm-facts th {font-weight: normal; opacity: .7}
"""


class FactsMixin:
    """Adds the facts of a fitted estimator to the HTML that scikit-learn makes of it."""

    def _repr_html_inner(self) -> str:
        return str(super()._repr_html_inner()) + _html_of(self)  # type: ignore[misc]

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**settings)  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] += _html_of(self)
        return bundle


def facts(estimator: Any) -> dict[str, str]:
    """Return what there is to know about a fitted estimator, by the names to show."""
    network, k = estimator.network_, len(estimator.classes_)
    config = network.config
    kind = config.network if isinstance(config.network, str) else type(config.network).__name__
    size = sum(value.size for value in network.state().values())
    device = getattr(network, "device", None)
    others = len(estimator._networks) - 1
    return {
        "Network": f"{kind}, {size:,} weights" + (f", and {others} more" if others else ""),
        "Learns": f"{config.parameterization} by {config.objective}, "
        f"condition in {config.conditioning}".replace("_", " "),
        "Input": " x ".join(map(str, config.input_shape)),
        "Classes": f"{k}: {_listed(estimator.classes_.tolist())}",
        **_training(estimator),
        **({} if device is None else {"Device": str(device)}),
    }


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Return an HTML table that can be folded; names and values are escaped.

    Examples
    --------
    >>> "<td>&lt;b&gt;</td>" in table([("Classes", "<b>")])
    True
    """
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return (
        f'<style>{_STYLE}</style><details class="skdidicm-facts" open>'
        f"<summary>Fitted</summary><table><tbody>{cells}</tbody></table></details>"
    )


def _html_of(estimator: Any) -> str:
    return table(facts(estimator).items()) if hasattr(estimator, "network_") else ""


def _training(estimator: Any) -> dict[str, str]:
    """Return what the last fit came to."""
    shown: dict[str, str] = {}
    n_rows = getattr(estimator, "_n_rows", None)  # files do not keep it
    if n_rows is not None:
        shown["Rows seen"] = f"{n_rows:,} in every epoch of the last fit"
    shown["Epochs"] = f"{estimator.n_iter_} of {estimator.max_epochs_}"
    shown["Temperature"] = f"{estimator._used_temperature:.2f}"
    last = estimator.history_[-1] if estimator.history_ else {}
    for key, name, write in (
        ("loss", "Final loss", "{:.3f}".format),
        ("val_accuracy", "Validation accuracy", lambda share: f"{100 * share:.1f}%"),
        ("val_nll", "Validation NLL", "{:.3f} nats per row".format),
    ):
        if key in last:
            shown[name] = write(last[key])
    return shown


def _listed(labels: list[Any]) -> str:
    left = len(labels) - _MOST_NAMES
    return ", ".join(map(str, labels[:_MOST_NAMES])) + (f", and {left} more" if left > 0 else "")
