"""Values that no store keeps are refused in a sentence; they are nobody's 500."""

import pytest

from backend.core.errors import InvalidRequest
from backend.features.agents.drafts import AgentDraft
from tests.integration.accounts.conftest import ADMIN_EMAIL, Side

ANNOUNCED = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("email", "password"), [(r"a\u0000b", "x"), (r"a\ud800", "x"), (ADMIN_EMAIL, r"x\ud800"), (ADMIN_EMAIL, r"\u0000")]
)
@pytest.mark.usefixtures("admin")
async def test_odd_characters_at_the_login_are_refused(side: Side, email: str, password: str) -> None:
    body = f'{{"email": "{email}", "password": "{password}"}}'.encode()
    reply = await side.client.post("/api/v1/auth/login", content=body, headers=ANNOUNCED)
    assert reply.status_code in {400, 401, 422}
    assert reply.json()["detail"]


@pytest.mark.parametrize("query", ["since=0001-01-01T00:00:00%2B14:00", "since=9999-12-31T23:59:59-14:00"])
async def test_a_time_outside_the_calendar_is_refused(admin: Side, query: str) -> None:
    assert (await admin.ask("GET", f"/admin/audit?{query}")).status_code == 400


async def test_a_nul_in_a_filter_finds_nothing(admin: Side) -> None:
    assert (await admin.ask("GET", "/admin/audit?actor=%00")).status_code in {200, 400}


@pytest.mark.parametrize("odd", ["a\0", "a\ud800"])
def test_an_agent_holds_no_text_that_cannot_be_kept(odd: str) -> None:
    drafts = (
        AgentDraft("x", "m", system_prompt=odd),
        AgentDraft("x", "m", description=odd),
        AgentDraft("x", "m", parameters={"stop": [odd]}),
        AgentDraft("x", "m", messages=[{"role": "user", "content": odd}]),
    )
    for draft in drafts:
        with pytest.raises(InvalidRequest, match="cannot be kept"):
            draft.checked()
