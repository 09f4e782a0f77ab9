-- query: insert_server
INSERT INTO mcp.servers (
    id, organization_id, name, description, transport, url, command, auth_form, prefix, variables, sealed, timeout_seconds,
    price, tool_prices, is_enabled, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::text::numeric, $14, $15, $16)

-- query: server_by_id
SELECT id, name, description, transport, url, command, auth_form, prefix, variables, timeout_seconds,
       trim_scale(price)::text AS price, tool_prices, is_enabled, created_at, updated_at
FROM mcp.servers
WHERE organization_id = $1 AND id = $2

-- query: list_servers
SELECT id, name, description, transport, url, command, auth_form, prefix, variables, timeout_seconds,
       trim_scale(price)::text AS price, tool_prices, is_enabled, created_at, updated_at
FROM mcp.servers
WHERE organization_id = $1 AND ($2::text IS NULL OR name > $2)
ORDER BY name
LIMIT $3

-- query: update_server
UPDATE mcp.servers
SET name = coalesce($3, name), description = coalesce($4, description), url = coalesce($5, url),
    command = coalesce($6, command), auth_form = coalesce($7, auth_form), timeout_seconds = coalesce($8, timeout_seconds),
    price = CASE WHEN $9::boolean THEN $10::text::numeric ELSE price END, tool_prices = coalesce($11, tool_prices),
    is_enabled = coalesce($12, is_enabled), updated_at = now()
WHERE organization_id = $1 AND id = $2

-- query: replace_server_secret
UPDATE mcp.servers SET prefix = $3, variables = $4, sealed = $5, updated_at = now() WHERE organization_id = $1 AND id = $2

-- query: delete_server
DELETE FROM mcp.servers WHERE organization_id = $1 AND id = $2

-- query: sealed_servers
-- role: nexus_system
-- Rows stay locked until they are sealed again, so that a change at the same time is not undone.
SELECT organization_id, id, sealed FROM mcp.servers WHERE sealed IS NOT NULL ORDER BY organization_id, id FOR UPDATE

-- query: reseal_server
-- role: nexus_system
UPDATE mcp.servers SET sealed = $3 WHERE organization_id = $1 AND id = $2
