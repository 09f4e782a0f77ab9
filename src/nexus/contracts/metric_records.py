"""The record of a metric's point as it travels: what a caller may send, its limits, and the columns it is stored in.

A metric is what a program measures of itself; it is not a figure that Nexus works out of calls. A *series* is what is
measured by one place: organization, name, kind, unit, labels, and the program that measures. A *point* is a series at a
time, and nothing else makes it that point: sent again, with whatever value, it changes nothing.
"""

# The annotations are read when the decoder is built, so this module does not postpone them.
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from nexus.contracts.calls import MAX_ID_CHARS, Name
from nexus.contracts.error_records import DEFAULT_ENVIRONMENT

MAX_METRIC_NAME_CHARS = 255
MAX_UNIT_CHARS = 63
MAX_DESCRIPTION_CHARS = 1_024
MAX_LABELS = 64
MAX_LABEL_NAME_CHARS = 128
MAX_LABEL_VALUE_CHARS = 1_024
MAX_BOUNDS = 512
MAX_EXPONENTIAL_COUNTS = 1_024
MAX_VALUES = 1_000
MAX_QUANTILES = 32
MAX_COUNT = 2**53
"""What a double still counts one by one."""
Kind = Literal["counter", "gauge", "histogram", "summary"]
KINDS: tuple[Kind, ...] = ("counter", "gauge", "histogram", "summary")
Temporality = Literal["delta", "cumulative"]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Labels = dict[
    Annotated[str, Meta(min_length=1, max_length=MAX_LABEL_NAME_CHARS)],
    Annotated[str, Meta(max_length=MAX_LABEL_VALUE_CHARS)],
]


class Buckets(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Explicit buckets: one count more than bounds."""

    bounds: Annotated[
        Annotated[list[float], Meta(max_length=MAX_BOUNDS)],
        Meta(description="Upper ends of the buckets, growing, each belonging to its bucket; the last bucket is open."),
    ]
    counts: Annotated[
        Annotated[list[Count], Meta(max_length=MAX_BOUNDS + 1)],
        Meta(description="How many values each bucket holds, one more than there are bounds; not added up."),
    ]


class ExponentialSide(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Counts of exponential buckets of one sign, one beside the other."""

    offset: Annotated[
        Annotated[int, Meta(ge=-(2**31), lt=2**31)], Meta(description="Index of the first bucket that is counted.")
    ] = 0
    counts: Annotated[
        Annotated[list[Count], Meta(max_length=MAX_EXPONENTIAL_COUNTS)],
        Meta(description="How many values each bucket holds, from the first on."),
    ] = []


class ExponentialBuckets(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Exponential buckets as OpenTelemetry has them."""

    scale: Annotated[
        Annotated[int, Meta(ge=-10, le=20)], Meta(description="Buckets grow by a factor of 2 to the power of 2^-scale.")
    ]
    zero_count: Annotated[Count, Meta(description="How many values are zero, or too near to it.")] = 0
    zero_threshold: Annotated[
        Annotated[float, Meta(ge=0)], Meta(description="What is not further from zero than this is counted as zero.")
    ] = 0.0
    positive: Annotated[ExponentialSide | None, Meta(description="Buckets of values above zero.")] = None
    negative: Annotated[ExponentialSide | None, Meta(description="Buckets of values below zero.")] = None


class QuantileValue(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One quantile of a summary."""

    quantile: Annotated[Annotated[float, Meta(ge=0, le=1)], Meta(description="Fraction of the values, 0 to 1.")]
    value: Annotated[float, Meta(description="What so many of the values do not exceed.")]


class MetricRecord(
    msgspec.Struct,
    tag="metric",
    tag_field="type",
    forbid_unknown_fields=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
):
    """One point of a metric. `name`, `kind` and `timestamp` are required, and `type`."""

    name: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_METRIC_NAME_CHARS)],
        Meta(description="What is measured, such as `http.server.request.duration`."),
    ]
    kind: Annotated[
        Kind,
        Meta(
            description="`counter`: something that adds up; `gauge`: something that goes up and down; `histogram`: how"
            " values are spread; `summary`: quantiles that the program worked out itself."
        ),
    ]
    timestamp: Annotated[
        Annotated[datetime, Meta(tz=True)],
        Meta(
            description="End of the time the point is about, RFC 3339 with a zone, to the microsecond. Series and"
            " timestamp are what makes the point one point."
        ),
    ]
    id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)] | None,
        Meta(description="Names the record in an answer that refuses it. It does not make it another point."),
    ] = None
    value: Annotated[
        float | None,
        Meta(description="Of a counter what was added, or the total (see `temporality`); of a gauge its value."),
    ] = None
    temporality: Annotated[
        Temporality | None,
        Meta(
            description="Whether counts, sums and buckets are those since the point before (`delta`, the default) or"
            " since the program began to count (`cumulative`). A cumulative count that becomes smaller has begun anew."
        ),
    ] = None
    start_timestamp: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="Since when a cumulative point counts. With it the first point of a series counts whole;"
            " without it only what is added later does."
        ),
    ] = None
    unit: Annotated[
        Annotated[str, Meta(max_length=MAX_UNIT_CHARS)] | None,
        Meta(description="Unit, as UCUM writes it: `s`, `ms`, `By`, `1`, `{request}`."),
    ] = None
    description: Annotated[
        Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS)] | None,
        Meta(description="What the metric means. That of the first point of a series is kept."),
    ] = None
    labels: Annotated[
        Annotated[Labels, Meta(max_length=MAX_LABELS)] | None,
        Meta(description="What tells series of a metric apart: route, status, queue. Secrets in them are masked."),
    ] = None
    values: Annotated[
        Annotated[list[float], Meta(min_length=1, max_length=MAX_VALUES)] | None,
        Meta(description="Of a histogram: single values. They are put into exponential buckets, each 2.2 % wide."),
    ] = None
    buckets: Annotated[Buckets | None, Meta(description="Of a histogram: counts between explicit bounds.")] = None
    exponential: Annotated[ExponentialBuckets | None, Meta(description="Of a histogram: exponential buckets.")] = None
    quantiles: Annotated[
        Annotated[list[QuantileValue], Meta(max_length=MAX_QUANTILES)] | None,
        Meta(description="Of a summary: its quantiles. They cannot be added up: of several points the newest stand."),
    ] = None
    count: Annotated[
        Count | None,
        Meta(description="Of a histogram or summary: how many values. Default: what its buckets hold."),
    ] = None
    sum: Annotated[float | None, Meta(description="Of a histogram or summary: sum of all values.")] = None
    min: Annotated[float | None, Meta(description="Of a histogram of delta temporality: smallest value.")] = None
    max: Annotated[float | None, Meta(description="Of a histogram of delta temporality: largest value.")] = None
    service: Annotated[Name | None, Meta(description="The program that measures.")] = None
    instance: Annotated[
        Name | None,
        Meta(
            description="Which of several copies of the program measures. Two that count the same need names of their"
            " own, or one's points are taken for the other's."
        ),
    ] = None
    environment: Annotated[
        Name | None, Meta(description=f"Where the program runs. Default: `{DEFAULT_ENVIRONMENT}`.")
    ] = None
    application: Annotated[
        Name | None, Meta(description="Application it concerns. Default: the application of the key.")
    ] = None


METRIC_COLUMN_TYPES = MappingProxyType(
    {
        "ordinal": "int4",
        "organization_id": "uuid",
        "id": "uuid",
        "key_at": "timestamptz",
        "is_opaque": "bool",
        "occurred_at": "timestamptz",
        "received_at": "timestamptz",
        "series_id": "uuid",
        "name": "text",
        "kind": "text",
        "unit": "text",
        "application": "text",
        "service": "text",
        "environment": "text",
        "instance": "text",
        "labels": "jsonb",
        "description": "text",
        "is_cumulative": "bool",
        "start_at": "timestamptz",
        "layout": "uuid",
        "bounds": "jsonb",
        "value": "float8",
        "count": "int8",
        "min": "float8",
        "max": "float8",
        "bins": "bytea",
    }
)
"""Columns of the table in which points are staged for `metrics.store_points_v1()`, in order, with their types."""

METRIC_NOT_NULL = frozenset(
    {
        "ordinal", "organization_id", "id", "key_at", "is_opaque", "occurred_at", "received_at", "series_id", "name", "kind",
        "unit", "application", "service", "environment", "instance", "labels", "description", "is_cumulative", "layout", "count",
    }
)  # fmt: skip
"""Columns that always hold a value; the empty string stands for what a caller did not say."""
