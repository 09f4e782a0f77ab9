"""Governance: the audit log, searched and exported. It is written by triggers (`platform.audit_row_v1`), never here."""
