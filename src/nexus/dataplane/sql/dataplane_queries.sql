-- query: snapshot_versions
-- role: nexus_system
-- What the snapshots were made from has changed when their numbers have.
SELECT name, version
FROM platform.snapshot_versions;

-- query: snapshot_keys
-- role: nexus_system
SELECT id, organization_id, key_hash, scopes, application, user_id, not_before, expires_at
FROM identity.snapshot_keys_v1();

-- query: snapshot_organizations
-- role: nexus_system
SELECT id, slug, currency, tier, reporting_zone, is_active
FROM identity.snapshot_organizations_v1();

-- query: snapshot_members
-- role: nexus_system
SELECT organization_id, user_id, email
FROM identity.snapshot_members_v1();

-- query: snapshot_prices
-- role: nexus_system
SELECT document
FROM catalog.snapshot_prices_v1();

-- query: snapshot_endpoints
-- role: nexus_system
SELECT provider, method, path_template
FROM catalog.snapshot_endpoints_v1();

-- query: snapshot_providers
-- role: nexus_system
SELECT organization_id, slug, aliases, base_url, auth_types, is_active, options
FROM catalog.snapshot_providers_v1();

-- query: snapshot_provider_credentials
-- role: nexus_system
SELECT id, organization_id, provider, sealed, auth_form, base_url, weight, expires_at
FROM identity.snapshot_provider_credentials_v1();

-- query: snapshot_model_routes
-- role: nexus_system
SELECT organization_id, alias, provider, model, priority, weight
FROM catalog.snapshot_model_routes_v1();

-- query: snapshot_key_reaches
-- role: nexus_system
SELECT key_id, providers, models, endpoints, mcp_servers, mcp_tools
FROM identity.snapshot_key_reaches_v1();

-- query: snapshot_mcp_servers
-- role: nexus_system
SELECT id, organization_id, name, transport, url, command, auth_form, sealed, timeout_seconds, price, tool_prices
FROM mcp.snapshot_servers_v1();

-- query: snapshot_body_settings
-- role: nexus_system
SELECT organization_id, share, max_body_bytes, only_failed, providers, masks, fields, words
FROM metering.snapshot_body_settings_v1();

-- query: ensure_partition
-- role: nexus_writer
SELECT platform.ensure_partition_v1($1, $2);

-- query: stage_calls
-- role: nexus_writer
SELECT metering.stage_calls_v1();

-- query: store_calls
-- role: nexus_writer
-- Answers the ordinals of staged rows that were stored before, or stand earlier in the same batch.
SELECT metering.store_calls_v1();

-- query: stage_limit_sets
-- role: nexus_writer
SELECT metering.stage_limit_sets_v1();

-- query: store_limit_sets
-- role: nexus_writer
SELECT metering.store_limit_sets_v1();

-- query: stage_tool_calls
-- role: nexus_writer
SELECT mcp.stage_tool_calls_v1();

-- query: store_tool_calls
-- role: nexus_writer
SELECT mcp.store_tool_calls_v1();

-- query: stage_requests
-- role: nexus_writer
SELECT mcp.stage_requests_v1();

-- query: store_requests
-- role: nexus_writer
SELECT mcp.store_requests_v1();

-- query: stage_errors
-- role: nexus_writer
SELECT issues.stage_errors_v1();

-- query: store_errors
-- role: nexus_writer
SELECT issues.store_errors_v1();

-- query: stage_points
-- role: nexus_writer
SELECT metrics.stage_points_v1();

-- query: store_points
-- role: nexus_writer
SELECT metrics.store_points_v1();

-- query: claim_series
-- role: nexus_writer
-- $1 is the limit where the system configuration says none.
SELECT c.refused_ordinal, c.refused_metric, c.active_series
FROM metrics.claim_series_v1(coalesce(
    (SELECT (k.value #>> '{}')::bigint FROM platform.configuration AS k WHERE k.key = 'limits.metric_series'), $1::bigint)) AS c;

-- query: stage_windows
-- role: nexus_writer
SELECT storage.stage_windows_v1();

-- query: store_windows
-- role: nexus_writer
SELECT storage.store_windows_v1();

-- query: ensure_body_partition
-- role: nexus_writer
SELECT platform.ensure_partition_v1('metering.call_bodies', $1);

-- query: store_call_bodies
-- role: nexus_writer
SELECT metering.store_call_bodies_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- query: keys_used
SELECT identity.keys_used_v1($1::uuid[], $2::uuid[], $3::timestamptz[], $4::interval);
