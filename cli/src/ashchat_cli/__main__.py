"""`python -m ashchat_cli`."""

from ashchat_cli.app import main

main()
