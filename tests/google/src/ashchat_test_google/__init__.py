"""A server of Google's Translation API, v3, that translates through Apertium.

What a client sends is checked as strictly as Google does it: TLS, the service account's
signature, the resource name, the text's type, the language codes.
"""
