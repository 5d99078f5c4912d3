"""RabbitMQ: declares the queue topology over the management HTTP API, and repairs it.

The table is `ashchat_core.topology`. `plan` is a pure function from what is desired and what was
read to a list of HTTP requests; `client` sends them; `reconcile` joins both.

Never deleted: a queue or an exchange, whatever is wrong with it. Left alone: queues that are not
in the table (the auth pods' own reply queues), bindings to them, and other users.
"""
