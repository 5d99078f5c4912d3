"""`python -m ashchat_translate`."""

from ashchat_translate.main import main

main()
