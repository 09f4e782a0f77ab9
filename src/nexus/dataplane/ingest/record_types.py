"""The types of records that `/v1/events` takes. A new one is a module beside this one, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nexus.dataplane.ingest.error_records import ERROR
from nexus.dataplane.ingest.limit_sets import LIMIT_SET
from nexus.dataplane.ingest.mcp_requests import MCP_REQUEST
from nexus.dataplane.ingest.metric_records import METRIC
from nexus.dataplane.ingest.record_type import RecordType, RowType
from nexus.dataplane.ingest.resolve import API_CALL
from nexus.dataplane.ingest.storage_records import STORAGE
from nexus.dataplane.ingest.tool_calls import TOOL_CALL

__all__ = ["API_CALL", "ERROR", "MCP_REQUEST", "METRIC", "RECORD_TYPES", "ROW_TYPES", "STORAGE", "TOOL_CALL"]

RECORD_TYPES: Mapping[str, RecordType] = MappingProxyType(
    {record_type.name: record_type for record_type in (API_CALL, TOOL_CALL, MCP_REQUEST, ERROR, METRIC, STORAGE)}
)
"""By the value of `type`. A record that does not say is an API call."""
ROW_TYPES: Mapping[str, RowType] = MappingProxyType({**RECORD_TYPES, LIMIT_SET.name: LIMIT_SET})
"""All that is written, by the name that spooled rows have: with what no caller sends."""
