"""Settings and the database -> the services of accounts, and the right to make the first administrator."""

import sys

from backend.bootstrap.safety import check_signing_key
from backend.core.config import Settings
from backend.core.config_accounts import AccountSettings
from backend.core.db.database import Database
from backend.core.logging import get_logger
from backend.features.accounts.administration import UserAdministration
from backend.features.accounts.attempts import Attempt, Attempts
from backend.features.accounts.deps import Accounts
from backend.features.accounts.known_users import DatabaseUsers
from backend.features.accounts.login_tickets import LoginTickets
from backend.features.accounts.oidc_router import CALLBACK
from backend.features.accounts.passwords import Passwords, argon2id
from backend.features.accounts.provider_logins import LoginRules, ProviderLogins
from backend.features.accounts.roles import RoleAdministration
from backend.features.accounts.service import AccountService
from backend.features.accounts.sessions import SessionService
from backend.features.audit.service import AuditLog
from backend.features.auth.forwarded_users import ForwardedUsers
from backend.features.auth.running import RunningCalls
from backend.features.auth.windows import Windows

_log = get_logger(__name__)


async def open_accounts(
    settings: Settings,
    database: Database,
    audit: AuditLog,
    key: bytes,
    running: RunningCalls,
    windows: Windows | None = None,
) -> Accounts:
    """Return the services, with the built-in roles in the database; attempts are counted in these windows."""
    sessions = SessionService(database, audit, key, running)
    passwords = Passwords(argon2id())
    attempts = Attempts(_rules(settings.accounts), windows)
    own = AccountService(
        database, audit, sessions, passwords, attempts, is_open=settings.accounts.registration == "open"
    )
    await own.ensure_roles()
    users = DatabaseUsers(database)
    sessions.known.lead(users.known)
    logins = _provider_logins(settings, database, audit, own, attempts, key)
    return Accounts(
        own,
        sessions,
        UserAdministration(database, audit, own, sessions, passwords),
        RoleAdministration(database, audit, sessions.known),
        attempts,
        logins,
        _forwarded_users(settings.accounts, users),
    )


async def announce_bootstrap(accounts: Accounts) -> None:
    """Write the one-time token for the first administrator to standard error, when nobody has an account yet.

    Not through the log: that masks what looks like a credential, and is kept.
    """
    token = await accounts.own.offer_bootstrap()
    if token is not None:
        sys.stderr.write(
            "passerelle: nobody has an account yet; make the first administrator within 24 hours with "
            f"'passerelle admin create', or with this token at POST /api/v1/auth/bootstrap: {token}\n"
        )
        sys.stderr.flush()


async def warn_when_open(settings: Settings, accounts: Accounts) -> None:
    """Write to the log that accounts keep nobody out, where that may not be what is meant."""
    if settings.auth == "auto" and await accounts.own.anybody_is_known():
        _log.warning(
            "open_although_there_are_accounts",
            hint="anybody who reaches this address may use the models without a key: set GATEWAY_AUTH=keys, or "
            "GATEWAY_AUTH=open if that is meant",
        )


def _provider_logins(
    settings: Settings, database: Database, audit: AuditLog, own: AccountService, attempts: Attempts, key: bytes
) -> ProviderLogins | None:
    oidc, public_url = settings.oidc, settings.server.public_url
    if oidc.issuer is None or oidc.client_secret is None or public_url is None:
        return None
    # Only here: who has no login provider does not pay for the libraries.
    from backend.providers.oidc import Client, HttpWeb, OidcProvider  # noqa: PLC0415

    redirect_uri = public_url + CALLBACK
    client = Client(oidc.issuer, oidc.client_id, oidc.client_secret.get_secret_value(), redirect_uri, oidc.scopes)
    ca_file = None if settings.tls.ca_file is None else str(settings.tls.ca_file)
    rules = LoginRules(
        creates_users=oidc.create_users,
        allowed_domains=frozenset(oidc.allowed_domains),
        trusts_our_emails=settings.accounts.registration == "closed",
    )
    provider = OidcProvider(client, HttpWeb(ca_file))
    return ProviderLogins(provider, LoginTickets(key), rules, database, audit, own, attempts, redirect_uri)


def _forwarded_users(settings: AccountSettings, users: DatabaseUsers) -> ForwardedUsers:
    secret = settings.forwarded_user_secret
    name = "GATEWAY_ACCOUNTS__FORWARDED_USER_SECRET"
    return ForwardedUsers(
        users,
        secret=None if secret is None else check_signing_key(secret.get_secret_value(), name),
        refuses_unknown=settings.unknown_forwarded_users == "refuse",
    )


def _rules(settings: AccountSettings) -> dict[Attempt, str]:
    return {
        Attempt.LOGIN_TO_ACCOUNT_FROM_ADDRESS: (
            f"{settings.attempts_per_minute}/minute;{settings.attempts_per_hour}/hour"
        ),
        Attempt.LOGIN_TO_ACCOUNT: (
            f"{settings.account_attempts_per_minute}/minute;{settings.account_attempts_per_hour}/hour"
        ),
        Attempt.LOGIN_FROM_ADDRESS: (
            f"{settings.address_attempts_per_minute}/minute;{settings.address_attempts_per_hour}/hour"
        ),
        Attempt.REGISTER: "3/hour",
        Attempt.REFRESH: "120/minute",
        Attempt.BOOTSTRAP: "5/minute;20/hour",
        Attempt.PROVIDER: "40/minute;400/hour",
    }
