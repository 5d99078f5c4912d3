"""The rules of accounts, one module per flow. No I/O library is imported here.

The protocols in `ports` declare what the rules need; `main` provides the implementations.

- `sign_up`: creates an account for a confirmed address
- `sign_in`: exchanges a password for tokens, on a known device or a newly confirmed one
- `sessions`: refresh, list, revoke, sign out; authenticates callers
- `passwords`: reset by a mailed code, change by the old password
- `two_factor`, `second_factor`: enrols an authenticator and checks its codes
- `account`: name and language, address, deletion
- `events`, `outbox`: security events, and what must follow each write
"""

from dataclasses import dataclass
from datetime import timedelta

from ashchat_auth.service.account import AccountSettings
from ashchat_auth.service.events import Events
from ashchat_auth.service.outbox import Outbox
from ashchat_auth.service.password_rules import PasswordRules
from ashchat_auth.service.passwords import PasswordChange, PasswordCheck
from ashchat_auth.service.ports import Ports
from ashchat_auth.service.second_factor import SecondFactor
from ashchat_auth.service.sessions import Sessions
from ashchat_auth.service.sign_in import SignIn
from ashchat_auth.service.sign_up import SignUp
from ashchat_auth.service.two_factor import TwoFactorSettings


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long tokens and sessions are valid."""

    refresh: timedelta
    """Lifetime of an unused refresh token."""

    session: timedelta
    """Lifetime of a session, however often it is used."""


@dataclass(frozen=True, slots=True)
class Auth:
    """All flows."""

    sign_up: SignUp
    sign_in: SignIn
    sessions: Sessions
    passwords: PasswordChange
    two_factor: TwoFactorSettings
    account: AccountSettings
    events: Events
    outbox: Outbox


def build(ports: Ports, *, lifetimes: Lifetimes, issuer: str) -> Auth:
    """Return the flows on these adapters; authenticators show `issuer`."""
    events = Events(ports.store)
    outbox = Outbox(ports.store, ports.requests)
    rules = PasswordRules(ports.common_passwords)
    password_check = PasswordCheck(ports.passwords, ports.limits)
    second_factor = SecondFactor(ports, outbox=outbox, events=events)
    return Auth(
        sign_up=SignUp(ports, rules=rules, outbox=outbox),
        sign_in=SignIn(
            ports,
            password_check=password_check,
            second_factor=second_factor,
            outbox=outbox,
            events=events,
            refresh_life=lifetimes.refresh,
        ),
        sessions=Sessions(
            ports,
            outbox=outbox,
            events=events,
            refresh_life=lifetimes.refresh,
            longest_life=lifetimes.session,
        ),
        passwords=PasswordChange(
            ports,
            password_check=password_check,
            rules=rules,
            second_factor=second_factor,
            outbox=outbox,
            events=events,
        ),
        two_factor=TwoFactorSettings(
            ports,
            password_check=password_check,
            second_factor=second_factor,
            outbox=outbox,
            issuer=issuer,
        ),
        account=AccountSettings(
            ports,
            password_check=password_check,
            second_factor=second_factor,
            outbox=outbox,
            events=events,
        ),
        events=events,
        outbox=outbox,
    )
