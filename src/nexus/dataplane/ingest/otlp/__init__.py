"""OTLP/HTTP receiver: what OpenTelemetry exporters send becomes records, and goes the way of every record.

    bytes -> protobuf or JSON -> spans, points, logs -> which of them are records, and of what -> `Ingest.submit` -> acknowledged

`model` is what both forms are read into, `protobuf` and `json_form` (with `json_metrics`) read and answer them, `attributes`
holds the names that attributes have had, `genai`, `http_spans`, `mcp_spans` and `tree` say what a span is, `exceptions` and
`metrics` make the other records, `asgi` speaks HTTP.
"""
