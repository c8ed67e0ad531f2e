"""Logging in with a login provider: whose account somebody's identity there opens, and when it makes one.

An account is opened by the identity it is tied to. One that is tied to none yet is tied by its email, where the
provider says that the address is the person's own and an administrator vouches for ours; registration that is open to
anybody vouches for nothing, since a stranger could have registered the address first.
"""

from dataclasses import dataclass

from backend.core.db.database import Database
from backend.core.errors import Conflict, NotAuthenticated, NotPermitted
from backend.core.identity_provider import Identity, IdentityProvider
from backend.core.logging import get_logger
from backend.features.accounts.attempts import Attempt, Attempts
from backend.features.accounts.email import readable_email
from backend.features.accounts.login_tickets import LoginTickets
from backend.features.accounts.models import User
from backend.features.accounts.repository import Users
from backend.features.accounts.service import AccountService, NewUser, Stranger
from backend.features.accounts.sessions import Grant
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.auth.principal import Principal

_log = get_logger(__name__)
_LONGEST_SUBJECT = 300
_NOT_BEGUN = "the login provider did not log you in; begin again at /api/v1/auth/oidc/login"
_UNKNOWN = "nobody here has this login; ask an administrator for an account"
_NO_EMAIL = (
    "the login provider does not say that your email address is yours; confirm it there, or ask an administrator"
)
_OTHER_DOMAIN = "this gateway takes no logins from your email's domain; ask an administrator"
_TAKEN = "an account with your email is there already; ask an administrator to sort it out"
_SUSPENDED = "this account is suspended; ask an administrator"


@dataclass(frozen=True, slots=True)
class LoginRules:
    """Whom the operator lets in."""

    creates_users: bool
    allowed_domains: frozenset[str]
    """Domains of email addresses, in lower case; empty for all."""
    trusts_our_emails: bool
    """Whether administrators alone say which address an account has."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A login on its way to the provider."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Return:
    """What somebody's browser brings back from the provider; all of it may be made up."""

    cookie: str
    state: str
    code: str


class ProviderLogins:
    """Sends people to the login provider and begins sessions for those who come back.

    Args:
        provider: the login provider.
        tickets: tie who comes back to who was sent.
        rules: whom the operator lets in.
        database: keeps the accounts.
        audit: is told what changed.
        accounts: makes accounts and begins sessions.
        attempts: bounds how often somebody tries.
        redirect_uri: where the provider sends people back to; never taken from a request.
    """

    def __init__(
        self,
        provider: IdentityProvider,
        tickets: LoginTickets,
        rules: LoginRules,
        database: Database,
        audit: AuditLog,
        accounts: AccountService,
        attempts: Attempts,
        redirect_uri: str,
    ) -> None:
        self.redirect_uri = redirect_uri
        self._provider = provider
        self._tickets = tickets
        self._rules = rules
        self._database = database
        self._audit = audit
        self._accounts = accounts
        self._attempts = attempts
        self._users = Users()

    async def begin(self, stranger: Stranger) -> Begun:
        """Return where to send somebody, and the cookie that their browser brings back."""
        await self._attempts.admit(Attempt.PROVIDER, stranger.address)
        ticket, cookie = self._tickets.issue()
        return Begun(await self._provider.login_url(ticket), cookie)

    async def complete(self, stranger: Stranger, back: Return) -> Grant:
        """Begin a session for whoever has come back; raise why not."""
        await self._attempts.admit(Attempt.PROVIDER, stranger.address)
        ticket = self._tickets.redeem(back.cookie, back.state)
        if not back.code:
            raise NotAuthenticated(_NOT_BEGUN)
        identity = await self._provider.identify(back.code, ticket)
        user = await self._user_of(Caller(Principal(None), stranger.request_id), identity)
        if not user.is_active:
            _log.warning("provider_login_refused", reason="suspended")
            raise NotPermitted(_SUSPENDED)
        return await self._accounts.begin_session(stranger, user)

    async def _user_of(self, caller: Caller, identity: Identity) -> User:
        subject = f"{identity.issuer}|{identity.subject}"
        if len(subject) > _LONGEST_SUBJECT:
            raise NotPermitted(_UNKNOWN)
        verified = identity.verified_email
        email = None if verified is None else readable_email(verified)
        allowed = self._rules.allowed_domains
        if allowed and (email is None or email.rpartition("@")[2] not in allowed):
            raise NotPermitted(_NO_EMAIL if email is None else _OTHER_DOMAIN)
        async with self._database.reading() as reading:
            tied = await self._users.by_subject(reading, subject)
            known = None if tied or email is None else await self._users.by_email(reading, email)
        if tied is not None:
            return tied
        if email is None:
            raise NotPermitted(_NO_EMAIL)
        if known is not None:
            return await self._tie(caller, known, subject)
        return await self._make(caller, NewUser(email, "", identity.name), subject)

    async def _tie(self, caller: Caller, user: User, subject: str) -> User:
        """Tie an account to an identity, unless it is tied to another one or its address is nobody's word."""
        if not user.is_active:
            return user  # refused by the caller; a suspended account is left as it is
        if not self._rules.trusts_our_emails:
            raise NotPermitted(_TAKEN)
        async with self._database.transaction() as transaction:
            if not await self._users.tie(transaction, user.id, subject):
                current = await self._users.by_subject(transaction, subject)  # the same person, at the same moment
                if current is None or current.id != user.id:
                    raise NotPermitted(_TAKEN)
                return current
            await self._audit.record(transaction, caller, "user.tie", Subject("user", user.id, user.id))
        return user

    async def _make(self, caller: Caller, new: NewUser, subject: str) -> User:
        if not self._rules.creates_users:
            raise NotPermitted(_UNKNOWN)
        try:
            return await self._accounts.create(caller, new, None, subject)
        except Conflict:
            async with self._database.reading() as reading:
                made = await self._users.by_subject(reading, subject)  # the same person, at the same moment
            if made is None:
                raise
            return made
