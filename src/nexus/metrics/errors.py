"""What can be wrong with a question about metrics."""

from __future__ import annotations

from nexus.kit.errors import InvalidRequest, NotFound, Unavailable


class MetricNotFound(NotFound):
    """There is no such metric in this organization."""

    code = "metric_not_found"


class AmbiguousMetric(InvalidRequest):
    """Several metrics have this name: say the kind, or the unit, too."""

    code = "ambiguous_metric"


class TooMuchAsked(InvalidRequest):
    """The answer would be made of more than one question may read: filter, or take a longer period or a shorter range."""

    code = "too_much_asked"


class FiguresBehind(Unavailable):
    """More points wait to be counted than a question can add up: ask again in a moment."""

    code = "figures_behind"
