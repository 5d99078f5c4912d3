"""`python -m ashchat_chat`."""

from ashchat_chat.main import main

main()
