"""
HTTP client code that the adapters for Camb and for receivers share; aiohttp does the rest.

`network_errors` builds the URL of a request and describes network errors without secrets.
`response_head` reads responses that violate HTTP.
"""
