"""What clients see: Phoenix frames, the socket and the HTTP API."""
