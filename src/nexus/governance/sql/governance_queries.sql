-- query: search_audit_log
SELECT id, occurred_at, table_name, action, row_id, old_row, new_row, actor_user_id, actor_key_id, actor_label,
       ip_address, user_agent, request_id
FROM platform.audit_log
WHERE organization_id = platform.current_organization_id()
  AND ($1::timestamptz IS NULL OR occurred_at >= $1)
  AND ($2::timestamptz IS NULL OR occurred_at < $2)
  AND ($3::text IS NULL OR table_name = $3)
  AND ($4::text IS NULL OR action = $4)
  AND ($5::text IS NULL OR row_id = $5)
  AND ($6::uuid IS NULL OR actor_user_id = $6)
  AND ($7::text IS NULL OR request_id = $7)
  AND ($8::text IS NULL OR strpos(lower(actor_label), lower($8)) > 0)
  AND ($9::timestamptz IS NULL OR (occurred_at, id) < ($9, $10::uuid))
ORDER BY occurred_at DESC, id DESC
LIMIT $11

-- query: record_action
SELECT platform.record_action_v1($1, $2, $3::jsonb)
