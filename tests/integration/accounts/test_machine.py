"""Whatever a team does in whatever order, a plain model of who may do and see what agrees with the gateway.

The machine sends what people could send: as administrators, as people with some rights, as suspended and removed ones.
The model knows each request's verdict beforehand, and after each step everybody's view is compared.
"""

import asyncio
import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.bootstrap.store import open_database
from backend.core.config import load_settings
from backend.core.db.pages import PageQuery
from backend.features.agents.service import AgentView
from backend.features.audit.repository import AuditFilter
from backend.features.auth.principal import EVERYTHING, USER_PERMISSIONS, Permission, Principal
from tests.fakes.plain_team import Agent, Key, Member, Role
from tests.integration.accounts.conftest import ADMIN_EMAIL, KEY, PASSWORD, SIGNING, open_side

P = Permission
Result = TypeVar("Result")
WHICH = st.integers(0, 7)
"""Which of what there is; taken modulo its number, so that examples stay meaningful when they shrink."""
ACTOR = st.just(0) | WHICH
"""Who does it; most often the first administrator, who may."""
RIGHTS = st.frozensets(
    st.sampled_from(
        [
            *(P.USE_MODELS, P.WRITE_AGENTS, P.PUBLISH_AGENTS, P.WRITE_KEYS),
            *(P.MANAGE_USERS, P.MANAGE_ROLES, P.MANAGE_AGENTS, P.MANAGE_KEYS),
        ]
    ),
    max_size=5,
)


class Team(RuleBasedStateMachine):
    """See the module."""

    template: Path
    """The data folder of an empty gateway."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self._folder = tempfile.TemporaryDirectory(prefix="team-")
        self._numbers = itertools.count()
        self.roles: list[Role] = []
        self.members: list[Member] = []
        self.agents: list[Agent] = []
        self.keys: list[Key] = []
        self.entries = 0

    def run(self, doing: Awaitable[Result]) -> Result:
        async def bounded() -> Result:
            return await asyncio.wait_for(doing, 10)

        return self._runner.run(bounded())

    @initialize()
    def begin(self) -> None:
        self.run(self._begin())
        self.add_role(0, frozenset({P.USE_MODELS, P.WRITE_AGENTS, P.PUBLISH_AGENTS, P.WRITE_KEYS}))
        for role in (1, 2, 2):
            self.add_member(0, role)
        self.make_agent(1, is_public=True, role=None)
        self.make_agent(2, is_public=False, role=2)
        self.make_agent(3, is_public=False, role=None)
        for by in (1, 2):
            self.make_key(by, frozenset({P.USE_MODELS, P.WRITE_AGENTS}))

    async def _begin(self) -> None:
        data_dir = Path(self._folder.name) / "data"
        shutil.copytree(self.template, data_dir)
        limits = {"attempts_per_minute": 10_000, "address_attempts_per_minute": 10_000}
        limits |= {"account_attempts_per_minute": 10_000, "account_attempts_per_hour": 10_000}
        limits |= {"attempts_per_hour": 10_000, "address_attempts_per_hour": 10_000}
        made = load_settings(None, data_dir=data_dir, api_keys=KEY, jwt_secret_key=SIGNING, accounts=limits)
        self.side = await self._stack.enter_async_context(open_side(made))
        user = await self.side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
        page = await self.side.container.accounts.roles.page(PageQuery())
        permissions = {"admin": EVERYTHING, "user": USER_PERMISSIONS}
        self.roles = [Role(str(r.id), r.name, permissions[r.name], is_built_in=True) for r in page.items]
        self.members = [Member(str(user.id), ADMIN_EMAIL, user.trigramme, self.role_named("admin"))]
        await self._login(self.members[0])
        self.entries = await self._logged()

    def teardown(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()
        self._folder.cleanup()

    def role_named(self, name: str) -> Role:
        return next(role for role in self.roles if role.name == name)

    def member(self, which: int) -> Member:
        return self.members[which % len(self.members)]

    def ask(self, actor: Member, method: str, path: str, body: object = None) -> Any:
        """Send something as somebody, who may be there no longer."""
        headers = {"authorization": f"Bearer {actor.tokens[-1]}"}
        return self.run(self.side.ask(method, path, body, headers=headers))

    def verdict(self, actor: Member, needs: Permission | None, otherwise: int) -> int:
        """Return what a route says before it looks at anything, else what the model says."""
        if actor.is_removed or not actor.is_active:
            return 401
        return 403 if needs is not None and not actor.may(needs) else otherwise

    def is_last_admin(self, member: Member) -> bool:
        others = [other for other in self.members if other is not member and not other.is_removed and other.is_active]
        return member.role.name == "admin" and all(other.role.name != "admin" for other in others)

    async def _logged(self) -> int:
        audit = self.side.container.audit
        return (await audit.page(AuditFilter(), PageQuery(limit=1))).total

    async def _login(self, member: Member) -> None:
        tokens = await self.side.login(member.email)
        self.entries += 1
        member.tokens.append(tokens["access_token"])

    # What people do.

    @precondition(lambda self: len(self.members) < 7)
    @rule(by=ACTOR, role=WHICH)
    def add_member(self, by: int, role: int) -> None:
        actor, given, number = self.member(by), self.roles[role % len(self.roles)], next(self._numbers)
        body = {"email": f"member{number}@example.org", "password": PASSWORD, "role": given.name}
        reply = self.ask(actor, "POST", "/admin/users", body)
        expected = self.verdict(actor, P.MANAGE_USERS, 201 if actor.covers(given.permissions) else 403)
        assert reply.status_code == expected, reply.text
        if expected == 201:
            made = Member(reply.json()["id"], body["email"], reply.json()["trigramme"], given)
            self.members.append(made)
            self.entries += 1
            self.run(self._login(made))

    @rule(by=ACTOR, who=WHICH, is_active=st.booleans())
    def suspend_or_reactivate(self, by: int, who: int, is_active: bool) -> None:
        actor, target = self.member(by), self.member(who)
        reply = self.ask(actor, "PATCH", f"/admin/users/{target.id}", {"is_active": is_active})
        is_change = is_active != target.is_active
        judged = self._touching(actor, target, is_losing=is_change and not is_active)
        expected = self.verdict(actor, P.MANAGE_USERS, judged or 200)
        assert reply.status_code == expected, reply.text
        if expected == 200 and is_change:
            target.is_active = is_active
            self.entries += 1
            if is_active:
                self.run(self._login(target))

    @rule(by=ACTOR, who=WHICH)
    def remove_member(self, by: int, who: int) -> None:
        actor, target = self.member(by), self.member(who)
        reply = self.ask(actor, "DELETE", f"/admin/users/{target.id}")
        expected = self.verdict(actor, P.MANAGE_USERS, self._touching(actor, target, is_losing=True) or 204)
        assert reply.status_code == expected, reply.text
        if expected == 204:
            target.is_removed, target.is_active = True, False
            self.agents = [agent for agent in self.agents if agent.owner is not target]
            self.keys = [key for key in self.keys if key.owner is not target]
            self.entries += 1

    @rule(by=ACTOR, who=WHICH, role=WHICH)
    def give_a_role(self, by: int, who: int, role: int) -> None:
        actor, target, given = self.member(by), self.member(who), self.roles[role % len(self.roles)]
        reply = self.ask(actor, "PATCH", f"/admin/users/{target.id}", {"role": given.name})
        judged = self._touching(actor, target, is_losing=False)
        if judged is None and given is not target.role:
            is_stuck = self.is_last_admin(target) or (actor is target and target.role.name == "admin")
            judged = 403 if not actor.covers(given.permissions) else 409 if is_stuck else None
        expected = self.verdict(actor, P.MANAGE_USERS, judged or 200)
        assert reply.status_code == expected, reply.text
        if expected == 200 and given is not target.role:
            target.role = given
            self.entries += 1
            if target.is_active:
                self.run(self._login(target))

    def _touching(self, actor: Member, target: Member, *, is_losing: bool) -> int | None:
        """Return why an account cannot be touched, or made to lose its access."""
        if target.is_removed:
            return 404
        if not actor.covers(target.role.permissions):
            return 403
        return 409 if is_losing and (actor is target or self.is_last_admin(target)) else None

    @precondition(lambda self: len(self.roles) < 6)
    @rule(by=ACTOR, permissions=RIGHTS)
    def add_role(self, by: int, permissions: frozenset[Permission]) -> None:
        actor, name = self.member(by), f"role-{next(self._numbers)}"
        reply = self.ask(actor, "POST", "/admin/roles", {"name": name, "permissions": sorted(permissions)})
        expected = self.verdict(actor, P.MANAGE_ROLES, 201 if actor.covers(permissions) else 403)
        assert reply.status_code == expected, reply.text
        if expected == 201:
            self.roles.append(Role(reply.json()["id"], name, permissions))
            self.entries += 1

    @rule(by=ACTOR, role=WHICH, permissions=RIGHTS)
    def change_role(self, by: int, role: int, permissions: frozenset[Permission]) -> None:
        actor, target = self.member(by), self.roles[role % len(self.roles)]
        reply = self.ask(actor, "PATCH", f"/admin/roles/{target.id}", {"permissions": sorted(permissions)})
        is_change = permissions != target.permissions
        lacks = not actor.covers(target.permissions) or (is_change and not actor.covers(permissions))
        expected = self.verdict(actor, P.MANAGE_ROLES, 409 if target.is_built_in else 403 if lacks else 200)
        assert reply.status_code == expected, reply.text
        if expected == 200 and is_change:
            target.permissions = permissions
            self.entries += 1

    @rule(by=ACTOR, role=WHICH)
    def remove_role(self, by: int, role: int) -> None:
        actor, target = self.member(by), self.roles[role % len(self.roles)]
        reply = self.ask(actor, "DELETE", f"/admin/roles/{target.id}")
        is_used = any(member.role is target and not member.is_removed for member in self.members)
        judged = 409 if target.is_built_in else 403 if not actor.covers(target.permissions) else 409 if is_used else 204
        expected = self.verdict(actor, P.MANAGE_ROLES, judged)
        assert reply.status_code == expected, reply.text
        if expected == 204:
            self.roles.remove(target)
            for agent in self.agents:
                agent.roles -= {target}
            self.entries += 1

    @precondition(lambda self: len(self.agents) < 8)
    @rule(by=ACTOR, is_public=st.booleans(), role=st.none() | WHICH)
    def make_agent(self, by: int, is_public: bool, role: int | None) -> None:
        actor, roles, name = self.member(by), self._shared(role), f"agent-{next(self._numbers)}"
        reply = self.ask(actor, "POST", "/agents", self._draft(name, is_public, roles))
        judged = self._sharing(actor, frozenset(), roles, is_published=is_public)
        expected = self.verdict(actor, P.WRITE_AGENTS, judged or 201)
        assert reply.status_code == expected, reply.text
        if expected == 201:
            self.agents.append(Agent(reply.json()["id"], name, actor, is_public, roles))
            self.entries += 1

    @precondition(lambda self: self.agents)
    @rule(by=ACTOR, which=WHICH, is_public=st.booleans(), role=st.none() | WHICH)
    def change_agent(self, by: int, which: int, is_public: bool, role: int | None) -> None:
        actor, agent, roles = self.member(by), self.agents[which % len(self.agents)], self._shared(role)
        reply = self.ask(actor, "PUT", f"/agents/{agent.id}", self._draft(agent.name, is_public, roles))
        judged = self._writing(actor, agent)
        judged = judged or self._sharing(actor, agent.roles, roles, is_published=is_public and not agent.is_public)
        expected = self.verdict(actor, P.WRITE_AGENTS, judged or 200)
        assert reply.status_code == expected, reply.text
        if expected == 200:
            agent.is_public, agent.roles = is_public, roles
            self.entries += 1

    @precondition(lambda self: self.agents)
    @rule(by=ACTOR, which=WHICH)
    def remove_agent(self, by: int, which: int) -> None:
        actor, agent = self.member(by), self.agents[which % len(self.agents)]
        reply = self.ask(actor, "DELETE", f"/agents/{agent.id}")
        expected = self.verdict(actor, P.WRITE_AGENTS, self._writing(actor, agent) or 204)
        assert reply.status_code == expected, reply.text
        if expected == 204:
            self.agents.remove(agent)
            self.entries += 1

    def _shared(self, role: int | None) -> frozenset[Role]:
        return frozenset() if role is None else frozenset({self.roles[role % len(self.roles)]})

    def _draft(self, name: str, is_public: bool, roles: frozenset[Role]) -> dict[str, Any]:
        return {"name": name, "model": "demo", "is_public": is_public, "role_ids": [role.id for role in roles]}

    def _writing(self, actor: Member, agent: Agent) -> int | None:
        if not agent.is_for(actor):
            return 404
        return None if agent.owner is actor or actor.may(P.MANAGE_AGENTS) else 403

    def _sharing(
        self, actor: Member, kept: frozenset[Role], wanted: frozenset[Role], *, is_published: bool
    ) -> int | None:
        added = wanted - kept
        if (added or is_published) and not actor.may(P.PUBLISH_AGENTS):
            return 403
        sees_all = actor.may(P.MANAGE_ROLES) or actor.may(P.MANAGE_AGENTS)
        return None if sees_all or added <= {actor.role} else 422

    @precondition(lambda self: len(self.keys) < 6)
    @rule(by=ACTOR, permissions=st.none() | RIGHTS)
    def make_key(self, by: int, permissions: frozenset[Permission] | None) -> None:
        actor = self.member(by)
        wanted = None if permissions is None else sorted(permissions)
        reply = self.ask(actor, "POST", "/keys", {"name": "key", "permissions": wanted})
        expected = self.verdict(actor, P.WRITE_KEYS, 201 if actor.covers(permissions or frozenset()) else 403)
        assert reply.status_code == expected, reply.text
        if expected == 201:
            self.keys.append(Key(reply.json()["id"], reply.json()["key"], actor, permissions))
            self.entries += 1

    @precondition(lambda self: self.keys)
    @rule(by=ACTOR, which=WHICH, is_everybodys=st.booleans())
    def revoke_key(self, by: int, which: int, is_everybodys: bool) -> None:
        actor, key = self.member(by), self.keys[which % len(self.keys)]
        place, needs = ("/admin/keys", P.MANAGE_KEYS) if is_everybodys else ("/keys", P.WRITE_KEYS)
        reply = self.ask(actor, "DELETE", f"{place}/{key.id}")
        expected = self.verdict(actor, needs, 204 if is_everybodys or key.owner is actor else 404)
        assert reply.status_code == expected, reply.text
        if expected == 204 and not key.is_revoked:
            key.is_revoked = True
            self.entries += 1

    # What always holds.

    @invariant()
    def everybody_is_who_they_should_be_and_nobody_else_gets_in(self) -> None:
        for member in self.members:
            principal = self.run(self._principal(member.tokens[-1]))
            if member.is_removed or not member.is_active:
                assert [self.run(self._principal(token)) for token in member.tokens] == [None] * len(member.tokens)
            else:
                assert principal is not None
                assert principal.permissions == member.role.permissions

    @invariant()
    def a_key_may_what_its_owner_may_and_never_more(self) -> None:
        for key in self.keys:
            principal = self.run(self.side.container.keys.store.find(key.secret))
            assert (None if principal is None else principal.permissions) == key.permits
            assert principal is None or str(principal.user_id) == key.owner.id

    @invariant()
    def everybody_sees_the_agents_that_are_theirs_to_use_and_no_other(self) -> None:
        if not self.members:
            return
        self.run(self.side.container.agents._index.refresh(only_if_changed=True))
        for member in self.members:
            if not member.is_active:
                continue
            usable = [agent for agent in self.agents if agent.is_for(member)]
            listed = self.run(self._listed(member))
            assert {str(view.agent.id) for view in listed} == {agent.id for agent in usable}
            assert {str(view.agent.id) for view in listed if view.is_writable} == {
                agent.id for agent in usable if agent.owner is member or member.may(P.MANAGE_AGENTS)
            }
            models = self.run(self._models(member))
            assert models == {f"{a.owner.trigramme}/{a.name}:latest" for a in usable if a.owner.is_active} | {
                "demo:latest"
            }

    @invariant()
    def an_administrator_is_left(self) -> None:
        if self.members:
            page = self.run(self.side.container.accounts.users.page(PageQuery(limit=100)))
            assert any(user.is_active and user.role.name == "admin" for user in page.items)
            assert {str(user.id) for user in page.items} == {m.id for m in self.members if not m.is_removed}

    @invariant()
    def every_change_is_in_the_log_and_nothing_else(self) -> None:
        if self.members:
            assert self.run(self._logged()) == self.entries

    async def _principal(self, token: str) -> Principal | None:
        return await self.side.container.accounts.sessions.access_tokens.find(token)

    async def _listed(self, member: Member) -> Sequence[AgentView]:
        principal = await self._principal(member.tokens[-1])
        assert principal is not None
        return (await self.side.container.agents.page(principal, PageQuery(limit=100))).items

    async def _models(self, member: Member) -> set[str]:
        principal = await self._principal(member.tokens[-1])
        assert principal is not None
        return {model.name.short for model in await self.side.container.catalog.models(principal)}


async def _migrate(folder: Path) -> None:
    async with open_database(load_settings(None, data_dir=folder, jwt_secret_key=SIGNING), migrating=True):
        pass


def test_a_team_in_any_order(tmp_path: Path) -> None:
    Team.template = tmp_path
    asyncio.run(_migrate(tmp_path))
    run_state_machine_as_test(
        Team,
        settings=settings(
            max_examples=6,
            stateful_step_count=20,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
