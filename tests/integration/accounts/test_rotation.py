"""Whatever is done with refresh tokens in whatever order, no token gives two lives."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.bootstrap.store import open_database
from backend.core.config import load_settings
from backend.core.errors import NotAuthenticated
from backend.features.accounts.models import Role, User
from backend.features.accounts.sessions import GRACE, SessionService
from backend.features.audit.service import AuditLog
from backend.features.auth.running import RunningCalls

WAITS = st.sampled_from([0, 1, 11, 3600, 6 * 86_400, 8 * 86_400])
STEPS = st.lists(st.tuples(st.integers(0, 5), WAITS, st.sampled_from(["laptop", "thief"])), min_size=1, max_size=12)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


async def play(folder: Path, steps: list[tuple[int, int, str]]) -> None:
    clock = Clock()
    async with open_database(load_settings(None, data_dir=folder)) as database:
        sessions = SessionService(database, AuditLog(database), b"k" * 32, RunningCalls(), clock)
        async with database.transaction() as transaction:
            for table in (User, Role):
                await transaction.execute(table.__table__.delete())
            role = Role(name="user", permissions=[])
            user = User(email="a@b", trigramme="abc", role=role)
            transaction.add(user)
            await transaction.flush()
            tokens = [(await sessions.begin(transaction, user, "laptop")).refresh_token]
        began, last_used, used = clock.now, clock.now, {}
        is_over, given_again = False, set()
        for choice, wait, device in steps:
            clock.now += timedelta(seconds=wait)
            token = tokens[min(choice, len(tokens) - 1)]
            is_newest = token == tokens[-1]
            is_idle = clock.now - last_used >= timedelta(days=7) or clock.now - began >= timedelta(days=30)
            is_lost_reply = (
                len(tokens) > 1 and token == tokens[-2] and token not in given_again
                and clock.now - used[token] <= GRACE and device == "laptop"
            )  # fmt: skip
            try:
                grant = await sessions.refresh(token, device, "")
            except NotAuthenticated:
                assert is_over or is_idle or not (is_newest or is_lost_reply)
                is_over = is_over or (token in used and not is_idle)
                continue
            assert not is_over
            assert not is_idle or not is_newest
            if token in used:
                assert is_lost_reply
                assert grant.refresh_token == tokens[-1]
                given_again.add(token)
            else:
                assert is_newest
                used[token] = last_used = clock.now
                tokens.append(grant.refresh_token)
        assert len(set(tokens)) == len(tokens)


def test_a_token_has_one_successor_and_a_copied_one_ends_all(tmp_path: Path) -> None:
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def played(steps: list[tuple[int, int, str]]) -> None:
        asyncio.run(play(tmp_path, steps))

    played()
