"""`python -m ashchat_auth`."""

from ashchat_auth.main import main

main()
