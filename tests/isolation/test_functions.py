"""No function reaches another organization's rows; and with holes made by hand, each is found."""

from __future__ import annotations

import asyncpg
import pytest

from tests.isolation.inspection import function_leaks, functions, partition_leaks, read_leaks, write_leaks
from tests.isolation.world import OTHER, World, fingerprint, found_in


def texts_of(world: World) -> list[str]:
    """Return texts that a function may take for a name of the other organization's."""
    return [OTHER, str(world.other.id), "metering.calls", world.other.email]


async def test_no_function_reaches_another_organization(
    admin_connection: asyncpg.Connection, login: asyncpg.Connection, role: str, world: World
) -> None:
    before = await fingerprint(admin_connection, world.other)
    assert await functions(admin_connection, role)

    def foreign(text: str) -> set[str]:
        return found_in(text, world.other.marks)

    for mine in (world.mine.id, None):
        found = await function_leaks(admin_connection, login, role, mine, world.other.id, texts_of(world), foreign)
        assert found == []
    assert await fingerprint(admin_connection, world.other) == before


SABOTAGE = {
    "a table without policies in force": ("catalog.prices", "ALTER TABLE catalog.prices DISABLE ROW LEVEL SECURITY"),
    "a policy that lets all through": (
        "metering.rollups_day", "CREATE POLICY open ON metering.rollups_day TO nexus_service USING (true)",
    ),
    "a view of somebody who sees all": (
        "metering.every_call",
        "CREATE VIEW metering.every_call AS SELECT * FROM metering.calls; GRANT SELECT ON metering.every_call TO nexus_service",
    ),
    "a grant on a partition": (
        "metering.calls_",
        """DO $$ BEGIN EXECUTE (SELECT 'GRANT SELECT ON ' || min(inhrelid::regclass::text) || ' TO nexus_service'
        FROM pg_inherits WHERE inhparent = 'metering.calls'::regclass); END $$""",
    ),
    "a definer that believes its argument": (
        "identity.keys_of",
        """CREATE FUNCTION identity.keys_of(organization uuid) RETURNS TABLE (id uuid, name text) LANGUAGE sql
        SECURITY DEFINER AS 'SELECT k.id, k.name FROM identity.access_keys AS k WHERE k.organization_id = organization';
        REVOKE ALL ON FUNCTION identity.keys_of FROM PUBLIC; GRANT EXECUTE ON FUNCTION identity.keys_of TO nexus_service""",
    ),
    "a definer that deletes": (
        "metering.repricings",
        """CREATE FUNCTION metering.forget(organization uuid) RETURNS void LANGUAGE sql SECURITY DEFINER
        AS 'DELETE FROM metering.repricings AS r WHERE r.organization_id = organization';
        REVOKE ALL ON FUNCTION metering.forget FROM PUBLIC; GRANT EXECUTE ON FUNCTION metering.forget TO nexus_service""",
    ),
    "a policy that checks nothing on the way in": (
        "identity.roles", "CREATE POLICY open ON identity.roles FOR INSERT TO nexus_service WITH CHECK (true)",
    ),
    "a policy that lets all be changed": (
        "catalog.providers", "CREATE POLICY open ON catalog.providers TO nexus_service USING (true)",
    ),
    "a table nobody thought of": (
        "metering.notes",
        """CREATE TABLE metering.notes AS SELECT organization_id, 'x' AS note FROM metering.repricings;
        GRANT SELECT ON metering.notes TO nexus_service""",
    ),
}  # fmt: skip


@pytest.mark.parametrize("role", ["nexus_service"])
async def test_every_hole_is_found(
    admin_connection: asyncpg.Connection, login: asyncpg.Connection, role: str, world: World
) -> None:
    """The tests above can fail: with these holes open each of them is found, and nothing else."""
    before = await fingerprint(admin_connection, world.other)
    for _, hole in SABOTAGE.values():
        await admin_connection.execute(hole)

    def foreign(text: str) -> set[str]:
        return found_in(text, world.other.marks)

    ids = (world.mine.id, world.other.id)
    found = []
    for looking in (
        read_leaks(admin_connection, login, role, world.mine.id, foreign),
        partition_leaks(admin_connection, login, role),
        write_leaks(admin_connection, login, role, *ids),
        function_leaks(admin_connection, login, role, *ids, texts_of(world), foreign),
    ):
        found += await looking
    after = await fingerprint(admin_connection, world.other)
    found += [f"the other's rows of {table} changed" for table in before if before[table] != after[table]]

    assert [name for name, (where, _) in SABOTAGE.items() if not any(where in item for item in found)] == []
    # A function that runs with its caller's rights shows what the table it reads shows.
    expected = [*(where for where, _ in SABOTAGE.values()), "catalog.snapshot_prices_v1"]
    assert [item for item in found if not any(where in item for where in expected)] == []
