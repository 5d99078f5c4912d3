"""The rules of accounts, one module a flow. No I/O library here.

What the rules need of the world is said by the protocols in `ports`; `main` gives the real
ones.

- `sign_up`: from an address to an account
- `sign_in`: from a password to tokens, by a device that is known or made known
- `sessions`: refresh, list, revoke, sign out; who is calling
- `passwords`: reset by a mailed code, change by the old one
- `two_factor`, `second_factor`: an authenticator, and what counts as its code
- `account`: name and language, address, deletion
- `events`, `outbox`: what is kept of all that, and what follows each write
"""

from dataclasses import dataclass
from datetime import timedelta

from ashchat_auth.service.account import AccountCare
from ashchat_auth.service.events import Events
from ashchat_auth.service.outbox import Outbox
from ashchat_auth.service.password_rules import PasswordRules
from ashchat_auth.service.passwords import OwnPassword, PasswordChange
from ashchat_auth.service.ports import (
    CommonPasswords,
    Limits,
    Passwords,
    Requests,
    Resets,
    Signer,
    Store,
    Vault,
)
from ashchat_auth.service.second_factor import SecondFactor
from ashchat_auth.service.sessions import Sessions
from ashchat_auth.service.sign_in import SignIn
from ashchat_auth.service.sign_up import SignUp
from ashchat_auth.service.two_factor import TwoFactorCare


@dataclass(frozen=True, slots=True)
class Lives:
    """How long what is given out is good."""

    refresh: timedelta
    """Of a refresh token that is not used."""

    session: timedelta
    """Of a session, however often it is used."""


@dataclass(frozen=True, slots=True)
class Auth:
    """All flows."""

    sign_up: SignUp
    sign_in: SignIn
    sessions: Sessions
    passwords: PasswordChange
    two_factor: TwoFactorCare
    account: AccountCare
    events: Events
    outbox: Outbox


def build(
    *,
    store: Store,
    requests: Requests,
    passwords: Passwords,
    common: CommonPasswords,
    signer: Signer,
    limits: Limits,
    resets: Resets,
    vault: Vault,
    lives: Lives,
    issuer: str,
) -> Auth:
    """Return the flows, on what the world gives; `issuer` is shown by authenticators."""
    events = Events(store)
    outbox = Outbox(store, requests)
    rules = PasswordRules(common)
    own_password = OwnPassword(passwords, limits)
    second_factor = SecondFactor(store, vault, outbox)
    return Auth(
        sign_up=SignUp(
            store=store,
            requests=requests,
            passwords=passwords,
            rules=rules,
            limits=limits,
            outbox=outbox,
        ),
        sign_in=SignIn(
            store=store,
            requests=requests,
            passwords=passwords,
            signer=signer,
            limits=limits,
            second_factor=second_factor,
            outbox=outbox,
            events=events,
            refresh_life=lives.refresh,
        ),
        sessions=Sessions(
            store=store,
            signer=signer,
            outbox=outbox,
            events=events,
            refresh_life=lives.refresh,
            longest_life=lives.session,
        ),
        passwords=PasswordChange(
            store=store,
            requests=requests,
            passwords=passwords,
            own_password=own_password,
            rules=rules,
            signer=signer,
            limits=limits,
            resets=resets,
            second_factor=second_factor,
            outbox=outbox,
            events=events,
        ),
        two_factor=TwoFactorCare(
            store=store,
            vault=vault,
            limits=limits,
            own_password=own_password,
            second_factor=second_factor,
            outbox=outbox,
            issuer=issuer,
        ),
        account=AccountCare(
            store=store,
            requests=requests,
            limits=limits,
            own_password=own_password,
            second_factor=second_factor,
            outbox=outbox,
            events=events,
        ),
        events=events,
        outbox=outbox,
    )
