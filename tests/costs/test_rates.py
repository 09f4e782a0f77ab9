"""Exchange rates: as they are published, dated, and never invented."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from nexus.costs.errors import UnreadableRates
from nexus.costs.rates import Rate, read_rates
from nexus.kit.money import NANOS
from tests.costs.conftest import Api
from tests.metering.records import fold

# The bank's own forms: the zipped history, the daily file, the XML of a day.
HISTORY = "Date,USD,JPY,BGN,CYP,\n2026-11-06,1.0850,164.20,1.9558,N/A,\n2026-11-05,1.0800,163.10,1.9558,N/A,\n"
DAILY = "Date, USD, JPY, GBP, \n06 November 2026, 1.0850, 164.20, 0.84000, \n"
XML = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
 <gesmes:subject>Reference rates</gesmes:subject><gesmes:Sender><gesmes:name>European Central Bank</gesmes:name></gesmes:Sender>
 <Cube><Cube time='2026-11-06'><Cube currency='USD' rate='1.0850'/><Cube currency='GBP' rate='0.84000'/></Cube></Cube>
</gesmes:Envelope>"""
OWN = "date,base,quote,rate\n2026-11-06,EUR,USD,1.0850\n2026-11-06,CHF,EUR,1.07\n"


def rate(base: str, quote: str, day: int, text: str) -> Rate:
    return Rate(base, quote, date(2026, 11, day), Decimal(text).quantize(Decimal(1).scaleb(-12)))


def test_the_forms_of_the_central_bank_and_ones_own_lines_are_read() -> None:
    usd, jpy, gbp = rate("EUR", "USD", 6, "1.0850"), rate("EUR", "JPY", 6, "164.20"), rate("EUR", "GBP", 6, "0.84")

    assert read_rates(HISTORY)[-1] == usd and len(read_rates(HISTORY)) == 6
    assert read_rates(DAILY) == [gbp, jpy, usd]
    assert read_rates(XML) == [gbp, usd]
    assert read_rates(OWN) == [rate("CHF", "EUR", 6, "1.07"), usd]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no rate"), ("Date,USD\n", "no rate"), ("Date,USD\n2026-11-06,N/A\n", "no rate"), ("hello", "heading"),
        ("Date,USD\nyesterday,1\n", "line 2"), ("Date,USD\n2026-11-06,-1\n", "between"), ("Date,usd\n2026-11-06,1\n", "capital"),
        ("Date,USD\n2026-11-06,much\n", "no decimal"), ("date,base,quote,rate\n2026-11-06,EUR,EUR,1\n", "always one"),
        ("date,base,quote,rate\n2026-11-06,EUR\n", "fewer columns"), ("<a><b>", "no XML"),
        ("<!DOCTYPE x []><a/>", "document type"),
        ('Date,"USD\n', "CSV"), ("Date,USD\n2026-11-06,1e-13\n", "between"), ("Date,USD\n2026-11-06,NaN\n", "finite|no decimal"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_rates_is_refused_with_the_line_and_the_reason(content: str, told: str) -> None:
    with pytest.raises(UnreadableRates, match=told) as refused:
        read_rates(content)

    assert refused.value.faults[0].field == "content"


async def convert(api: Api, given: str, wanted: str, day: int) -> Any:
    async with api.database.tenant(api.organization_id) as connection:
        return await connection.fetchval(
            "SELECT costs.exchange_v1($1, $2, $3, $4)", api.organization_id, given, wanted, date(2026, 11, day)
        )


async def test_calls_in_another_currency_are_converted_by_the_rate_of_their_day_and_what_has_none_is_shown(
    api: Api,
) -> None:
    budget = await api.make()
    await api.spend(10 * NANOS)
    await api.spend(2 * NANOS, currency="EUR", at=datetime(2026, 11, 6, 12, tzinfo=UTC))
    await api.spend(3 * NANOS, currency="EUR", at=datetime(2026, 11, 5, 12, tzinfo=UTC))
    await api.spend(7 * NANOS, currency="CHF")

    before = (await api.detail(budget))["standing"]
    taken = await api.post("exchange-rates", {"content": HISTORY, "source": "European Central Bank"})
    await fold(api.database)
    after = (await api.detail(budget))["standing"]

    assert (before["spent"], before["unconverted"]) == ("10", {"CHF": "7", "EUR": "5"})
    assert taken.json() == {
        "read": 6, "added": 6, "changed": 0, "first_on": "2026-11-05", "last_on": "2026-11-06",
        "currencies": ["BGN", "EUR", "JPY", "USD"],
    }  # fmt: skip
    # 10 + 2 x 1.0850 + 3 x 1.0800
    assert (after["spent"], after["unconverted"]) == ("15.41", {"CHF": "7"})
    assert after["requests"] == 4


async def test_a_rate_holds_for_the_holidays_after_it_turned_around_and_through_a_common_currency(api: Api) -> None:
    await api.post("exchange-rates", {"content": HISTORY})

    assert await convert(api, "EUR", "USD", 8) == Decimal("1.0850")
    assert await convert(api, "EUR", "USD", 5) == Decimal("1.0800")
    assert await convert(api, "EUR", "USD", 4) is None, "nothing is known from before"
    assert await convert(api, "EUR", "USD", 17) is None, "an old rate is no rate"
    assert abs(await convert(api, "USD", "EUR", 6) - 1 / Decimal("1.0850")) < Decimal("1e-12")
    assert abs(await convert(api, "USD", "JPY", 6) - Decimal("164.20") / Decimal("1.0850")) < Decimal("1e-12")
    assert await convert(api, "GBP", "USD", 6) is None


async def test_the_same_list_again_changes_nothing_and_a_correction_is_told(api: Api) -> None:
    await api.post("exchange-rates", {"content": HISTORY})

    again = (await api.post("exchange-rates", {"content": HISTORY})).json()
    corrected = (await api.post("exchange-rates", {"content": HISTORY.replace("1.0850", "1.0900")})).json()
    page = (await api.get("exchange-rates", quote="USD", limit=1)).json()
    rest = (await api.get("exchange-rates", quote="USD", cursor=page["next_cursor"])).json()

    assert (again["added"], again["changed"]) == (0, 0)
    assert (corrected["added"], corrected["changed"]) == (0, 1)
    assert [(item["rated_on"], item["rate"], item["is_shared"]) for item in page["items"] + rest["items"]] == [
        ("2026-11-06", "1.09", False), ("2026-11-05", "1.08", False),
    ]  # fmt: skip
    assert (await api.get("exchange-rates", base="euro")).status_code == 422


async def test_an_organizations_own_rates_stand_before_shared_ones_and_are_nobody_elses(
    api: Api, admin_connection: asyncpg.Connection
) -> None:
    await admin_connection.execute(
        "INSERT INTO costs.exchange_rates (base, quote, rated_on, rate, source, imported_by)"
        " VALUES ('EUR', 'USD', '2026-11-06', 1.1, 'shared', 'operator'), ('EUR', 'GBP', '2026-11-06', 0.9, 'shared', 'operator')"
    )

    await api.post("exchange-rates", {"content": OWN})

    assert await convert(api, "EUR", "USD", 6) == Decimal("1.0850")
    assert await convert(api, "EUR", "GBP", 6) == Decimal("0.9")
    shown = {(item["quote"], item["is_shared"]) for item in (await api.get("exchange-rates")).json()["items"]}
    assert shown == {("USD", True), ("USD", False), ("GBP", True), ("EUR", False)}
