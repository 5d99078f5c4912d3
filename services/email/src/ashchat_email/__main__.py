"""`python -m ashchat_email`."""

from ashchat_email.main import main

main()
