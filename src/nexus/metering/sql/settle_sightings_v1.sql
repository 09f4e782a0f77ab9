-- metering.settle_sightings_v1: of records that tell of one call, finds those that must not count; in the caller's transaction.
-- requires: metering.call_sightings, metering.retract_calls_v1
-- Looks at the staged calls that were just stored. Returns the ordinals of those that do not count; what was stored before
-- and does not count any more is retracted. A span's record counts unless the gateway told of the span, of an HTTP request
-- within it or of its answer; an inference's also not when another inference lies within it, an HTTP request's not when it
-- lies within an inference. Runs as nexus_writer under its policies.
CREATE FUNCTION metering.settle_sightings_v1() RETURNS integer[]
    LANGUAGE plpgsql SECURITY INVOKER
    AS $$
DECLARE
    organizations  uuid[];
    nodes          uuid[];
    gone           integer[];
    doomed_of      uuid[];
    doomed_at      timestamptz[];
    doomed         uuid[];
    staged         uuid[];
BEGIN
    SELECT array_agg(t.organization_id), array_agg(t.node) INTO organizations, nodes
    FROM (
        SELECT DISTINCT s.organization_id, n.node::uuid AS node
        FROM pg_temp.staged_calls AS s,
             LATERAL (SELECT jsonb_array_elements_text(s.sighting -> 'nodes') AS node UNION SELECT s.sighting ->> 'parent') AS n
        WHERE s.sighting IS NOT NULL AND n.node IS NOT NULL
    ) AS t;
    IF nodes IS NULL THEN
        RETURN '{}';
    END IF;

    -- Two transactions that tell of one call name a node both: the second waits here, and then sees what the first wrote.
    -- Few locks, each for many nodes, as a batch may name thousands; taken in one order.
    PERFORM pg_advisory_xact_lock(1936287604, l.bucket)
    FROM (
        SELECT DISTINCT hashtext(t.organization_id::text || t.node::text) & 63 AS bucket
        FROM unnest(organizations, nodes) AS t (organization_id, node)
        ORDER BY 1
    ) AS l;

    INSERT INTO metering.call_sightings (organization_id, node, seen, parent, call_id, key_at, received_at)
    SELECT s.organization_id, n.node::uuid, (s.sighting ->> 'seen')::smallint, (s.sighting ->> 'parent')::uuid,
           CASE WHEN s.sighting ->> 'seen' <> '3' THEN s.id END, CASE WHEN s.sighting ->> 'seen' <> '3' THEN s.key_at END, s.received_at
    FROM pg_temp.staged_calls AS s, LATERAL jsonb_array_elements_text(s.sighting -> 'nodes') AS n (node)
    WHERE s.sighting IS NOT NULL
    UNION ALL
    SELECT s.organization_id, (s.sighting ->> 'parent')::uuid, 4, NULL, NULL, NULL, s.received_at
    FROM pg_temp.staged_calls AS s
    WHERE s.sighting ->> 'seen' = '2' AND s.sighting ->> 'parent' IS NOT NULL
    ON CONFLICT DO NOTHING;

    WITH named AS (
        SELECT t.organization_id, t.node FROM unnest(organizations, nodes) AS t (organization_id, node)
    ), near AS (
        SELECT c.* FROM named AS n JOIN metering.call_sightings AS c ON c.organization_id = n.organization_id AND c.node = n.node
        UNION
        SELECT c.* FROM named AS n JOIN metering.call_sightings AS c ON c.organization_id = n.organization_id AND c.parent = n.node
    ), judged AS (
        SELECT * FROM near
        UNION
        SELECT c.* FROM near AS n JOIN metering.call_sightings AS c ON c.organization_id = n.organization_id AND c.node = n.parent
    )
    SELECT array_agg(d.organization_id), array_agg(d.key_at), array_agg(d.call_id) INTO doomed_of, doomed_at, doomed
    FROM (
        SELECT DISTINCT j.organization_id, j.key_at, j.call_id
        FROM judged AS j
        WHERE j.call_id IS NOT NULL AND (
            EXISTS (
                SELECT FROM metering.call_sightings AS o
                WHERE o.organization_id = j.organization_id AND o.node = j.node AND (o.seen = 3 OR (o.seen = 4 AND j.seen = 2))
            )
            OR (j.seen = 1 AND EXISTS (
                SELECT FROM metering.call_sightings AS o
                WHERE o.organization_id = j.organization_id AND o.node = j.parent AND o.seen = 2
            ))
            OR (j.seen = 2 AND EXISTS (
                SELECT FROM metering.call_sightings AS h
                JOIN metering.call_sightings AS o ON o.organization_id = h.organization_id AND o.node = h.node AND o.seen = 3
                WHERE h.organization_id = j.organization_id AND h.parent = j.node AND h.seen = 1
            ))
        )
    ) AS d;
    IF doomed IS NULL THEN
        RETURN '{}';
    END IF;

    WITH dropped AS (
        DELETE FROM pg_temp.staged_calls AS s
        USING unnest(doomed_of, doomed) AS d (organization_id, id)
        WHERE s.organization_id = d.organization_id AND s.id = d.id
        RETURNING s.ordinal, s.id
    )
    SELECT coalesce(array_agg(x.ordinal), '{}'), coalesce(array_agg(x.id), '{}') INTO gone, staged FROM dropped AS x;
    PERFORM metering.retract_calls_v1(doomed_of, doomed_at, doomed, staged);
    RETURN gone;
END
$$;
REVOKE ALL ON FUNCTION metering.settle_sightings_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering.settle_sightings_v1() TO nexus_writer;
