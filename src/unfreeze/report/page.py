"""The report: one HTML page that needs nothing but itself."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2

from unfreeze.compare import numerals
from unfreeze.report import formats
from unfreeze.report.figures import cost_chart, interval_chart, learning_curves
from unfreeze.report.formats import tidy
from unfreeze.report.view import view

_FILTERS = (
    (numerals, ("points", "span", "percent", "whole", "counted", "spelled")),
    (formats, ("seconds", "stored", "setting", "metric_name")),
)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unfreeze.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for module, names in _FILTERS:
        environment.filters.update({name: getattr(module, name) for name in names})
    return environment.get_template("page.html.j2")


def render_page(record: Mapping[str, Any]) -> str:
    """The report of a comparison as one self-contained HTML page.

    It loads nothing, runs no script, and shows figures, row numbers, names of labels, columns and settings, never a
    text of the user's. Everything is escaped, in the tables and in the figures.

    Args:
        record: the record of a finished comparison.

    Returns:
        The whole page.
    """
    clean = tidy(record)
    return _template().render(
        record=clean,
        view=view(clean),
        interval_chart=interval_chart(clean),
        cost_chart=cost_chart(clean),
        curves=learning_curves(clean),
    )
