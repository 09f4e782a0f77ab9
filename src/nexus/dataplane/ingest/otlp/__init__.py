"""OTLP/HTTP receiver: what OpenTelemetry exporters send becomes records, and goes the way of every record.

    bytes -> protobuf or JSON -> spans -> which of them are calls of APIs and tools -> `Ingest.submit` -> acknowledged

`model` is what both forms are read into, `protobuf` and `json_form` read and answer them, `attributes` holds the names
that attributes have had, `genai`, `http_spans`, `mcp_spans` and `tree` say what a span is, `asgi` speaks HTTP.
"""
