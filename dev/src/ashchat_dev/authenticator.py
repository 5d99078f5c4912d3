"""An authenticator app, as on the phone of a user with two-factor sign-in."""

import time

import pyotp


class Authenticator:
    """Codes of one account (TOTP, RFC 6238), each given out once.

    A service takes each time step once, so who needs two codes within one step of 30 s reads
    the second one off a clock that is a step fast; AshChat takes those too. A third within the
    same step would be refused.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.last_step = 0
        """The time step of the code that was given out last."""

    def code(self) -> str:
        """Return the code of this time step, or of the next one if this step's was used."""
        totp = pyotp.TOTP(self.secret)
        self.last_step = max(int(time.time()) // totp.interval, self.last_step + 1)
        return totp.generate_otp(self.last_step)
