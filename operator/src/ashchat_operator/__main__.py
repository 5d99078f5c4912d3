"""`python -m ashchat_operator`: the command line."""

from ashchat_operator.cli import app

app(prog_name="ashchat-operator")
