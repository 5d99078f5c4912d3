"""The store, the fan-out and the queues: implementations of the rules' ports."""
