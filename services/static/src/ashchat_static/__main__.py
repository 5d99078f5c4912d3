"""`python -m ashchat_static`."""

from ashchat_static.main import main

main()
