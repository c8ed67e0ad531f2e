"""What people are told of what they used, on both databases; nobody is told what others did."""

import csv
import io
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.core.config import Settings
from backend.core.db.tables import utc_now
from backend.features.usage.entries import Begin, Entry, Settle
from backend.features.usage.writer import write
from tests.integration.accounts.conftest import Side, open_side
from tests.integration.keys.conftest import make_key, with_key

YESTERDAY = datetime.combine(utc_now().date() - timedelta(days=1), datetime.min.time(), UTC).replace(hour=12)
TODAY = YESTERDAY + timedelta(days=1)


@pytest.fixture
async def side(settings: Settings) -> AsyncIterator[Side]:
    """A gateway whose users may use a thousand tokens a day."""
    changed = settings.model_copy(update={"usage": settings.usage.model_copy(update={"user_tokens_per_day": 1000})})
    async with open_side(changed) as opened:
        yield opened


async def keep(side: Side, user_id: str | None, model: str = "m:latest", at: datetime = TODAY, **more: Any) -> None:
    """Write down that somebody asked a model: ten tokens read, five written."""
    fields = {"key_id": "session", **{name: more.pop(name) for name in ("key_id", "agent_id") if name in more}}
    owner = None if user_id is None else uuid.UUID(user_id)
    entry = Entry(at, "chat", model, owner, of_account=user_id is not None, **fields)
    end = Settle(entry, "ok", 10, 5, at, **{"cost": 2_500, "currency": "EUR", **more})
    await side.container.database.in_one(lambda connection: write(connection, [Begin(entry), end]))


async def id_of(side: Side) -> str:
    return str((await side.ask("GET", "/auth/me")).json()["id"])


async def report(side: Side, query: str = "", path: str = "/usage") -> dict[str, Any]:
    reply = await side.ask("GET", f"{path}?{query}")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_everybody_sees_what_they_used_and_nobody_elses(eve: Side, bob: Side, admin: Side) -> None:
    eve_id, bob_id = await id_of(eve), await id_of(bob)
    await keep(eve, eve_id)
    await keep(eve, eve_id, "n:latest", YESTERDAY, cost=None, currency="")
    await keep(eve, bob_id, "secret:latest")
    await keep(eve, None, "secret:latest")
    told = await report(eve)
    assert told["totals"] == {
        "requests": 2,
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "cost": "0.0025",
        "unpriced_requests": 1,
    }
    assert (told["currency"], told["total"]) == ("EUR", 2)
    assert [(item["group"], item["requests"]) for item in told["items"]] == [
        (f"{TODAY:%Y-%m-%d}", 1),
        (f"{YESTERDAY:%Y-%m-%d}", 1),
    ]
    for group_by in ("model", "agent", "key"):
        assert "secret" not in str(await report(eve, f"group_by={group_by}"))
    assert (await report(bob))["totals"]["requests"] == 1
    assert (await report(admin))["totals"]["requests"] == 0
    assert (await eve.ask("GET", "/usage?group_by=user")).status_code == 422
    for path in ("/admin/usage", "/admin/usage?format=csv"):
        assert (await eve.ask("GET", path)).status_code == 403
    assert (await replace(eve, headers={}).ask("GET", "/usage")).status_code == 401


async def test_groups_come_in_pieces_the_largest_first(eve: Side) -> None:
    eve_id = await id_of(eve)
    for number in range(5):
        for _ in range(number + 1):
            await keep(eve, eve_id, f"m{number}:latest")
    told = await report(eve, "group_by=model&skip=1&limit=2")
    assert [item["group"] for item in told["items"]] == ["m3:latest", "m2:latest"]
    assert (told["total"], told["skip"], told["limit"], told["totals"]["requests"]) == (5, 1, 2, 15)


async def test_days_bound_what_is_summed_up(eve: Side) -> None:
    eve_id = await id_of(eve)
    for age in (0, 1, 2, 40):
        await keep(eve, eve_id, at=TODAY - timedelta(days=age))
    day = YESTERDAY.date()
    assert (await report(eve))["totals"]["requests"] == 3
    assert (await report(eve, f"from={day}&to={day}"))["totals"]["requests"] == 1
    assert (await report(eve, f"to={day - timedelta(days=20)}"))["totals"]["requests"] == 1
    for query in (f"from={day}&to={day - timedelta(days=1)}", "from=1000-01-01", "to=9999-12-31"):
        assert (await eve.ask("GET", f"/usage?{query}")).status_code == 400
    assert (await eve.ask("GET", "/usage?to=0001-01-01")).status_code == 200
    assert (await eve.ask("GET", "/usage?from=today")).status_code == 422


async def test_keys_and_agents_and_users_are_called_as_people_know_them(eve: Side, admin: Side) -> None:
    eve_id, made = await id_of(eve), await make_key(eve, name="laptop")
    await keep(eve, eve_id, "eve/helper:latest", key_id=f"key-{made['id']}", agent_id="a1")
    [by_key] = (await report(eve, "group_by=key"))["items"]
    assert (by_key["group"], by_key["label"]) == (f"key-{made['id']}", "laptop")
    [by_agent] = (await report(eve, "group_by=agent"))["items"]
    assert (by_agent["group"], by_agent["label"]) == ("a1", "eve/helper:latest")
    [by_user] = (await report(admin, "group_by=user", "/admin/usage"))["items"]
    assert (by_user["group"], by_user["label"]) == (eve_id, "eve@example.org")


async def test_a_table_of_all_groups_holds_no_formula(eve: Side, admin: Side) -> None:
    eve_id = await id_of(eve)
    for model in ("=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", 'quo"te, comma', "plain"):
        await keep(eve, eve_id, model)
    reply = await admin.ask("GET", "/admin/usage?group_by=model&format=csv&limit=1")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"].startswith('attachment; filename="usage-')
    head, *rows = list(csv.reader(io.StringIO(reply.text)))
    assert head[:3] == ["group", "label", "requests"]
    assert len(rows) == 7
    assert all(not row[column].startswith(("=", "+", "-", "@", "\t")) for row in rows for column in (0, 1))
    assert {row[0] for row in rows} >= {"'=cmd|' /C calc'!A0", 'quo"te, comma', "plain"}
    assert rows[0][2:] == ["1", "10", "5", "0.0025", "EUR", "0"]


async def test_administrators_sum_up_everybody_or_one_user(eve: Side, bob: Side, admin: Side) -> None:
    eve_id, bob_id = await id_of(eve), await id_of(bob)
    for user_id in (eve_id, eve_id, bob_id, None):
        await keep(eve, user_id)
    told = await report(admin, "group_by=user", "/admin/usage")
    assert next((item["label"], item["requests"]) for item in told["items"]) == ("eve@example.org", 2)
    assert told["totals"]["requests"] == 4
    assert {item["group"] for item in told["items"]} == {eve_id, bob_id, ""}
    assert (await report(admin, f"user_id={bob_id}", "/admin/usage"))["totals"]["requests"] == 1


async def test_a_quota_is_told_to_whoever_has_it_and_set_by_administrators(eve: Side, admin: Side) -> None:
    eve_id = await id_of(eve)
    path = f"/admin/quotas/{eve_id}"
    read = (await admin.ask("GET", path)).json()
    assert (read["tokens_per_day"], read["is_default"], read["quota"]["limit"]) == (1000, True, 1000)
    reply = await admin.ask("PUT", path, {"tokens_per_day": 77})
    assert (reply.status_code, reply.json()["tokens_per_day"], reply.json()["is_default"]) == (200, 77, False)
    quota = (await report(eve))["quota"]
    assert (quota["limit"], quota["spent"], quota["reserved"]) == (77, 0, 0)
    assert quota["resets_at"].startswith(f"{TODAY + timedelta(days=1):%Y-%m-%dT00:00:00}")
    assert (await admin.ask("PUT", path, {"tokens_per_day": None})).json()["quota"] is None
    assert (await report(eve))["quota"] is None
    assert (await admin.ask("DELETE", path)).status_code == 204
    assert (await report(eve))["quota"]["limit"] == 1000
    for body in ({"tokens_per_day": -1}, {"tokens_per_day": 10**15}, {}, {"tokens_per_day": 1, "spent": 0}):
        assert (await admin.ask("PUT", path, body)).status_code == 422
    assert {"quota.update", "quota.remove"} <= set(await admin.actions())
    made = await make_key(eve, tokens_per_day=50)
    told = await report(with_key(eve, made["key"]))
    assert told["key_quota"]["limit"] == 50
