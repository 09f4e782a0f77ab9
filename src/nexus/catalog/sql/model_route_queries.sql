-- query: insert_model_route
INSERT INTO catalog.model_routes (id, organization_id, alias, provider, model, priority, weight)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- query: list_model_routes
SELECT id, alias, provider, model, priority, weight, created_at
FROM catalog.model_routes
WHERE ($1::uuid IS NULL OR id > $1) AND ($2::text IS NULL OR alias = $2) AND ($3::uuid IS NULL OR id = $3)
ORDER BY id
LIMIT $4

-- query: update_model_route
UPDATE catalog.model_routes
SET alias = coalesce($3, alias), provider = coalesce($4, provider), model = coalesce($5, model),
    priority = coalesce($6, priority), weight = coalesce($7, weight)
WHERE organization_id = $1 AND id = $2

-- query: delete_model_route
DELETE FROM catalog.model_routes WHERE organization_id = $1 AND id = $2
