"""
HTTP client code that the adapters for Camb and for receivers share; aiohttp does the rest.

`target_url` builds the URL of a request. `response_head` and `response_body` read responses that violate HTTP.
`errors` describes network errors without secrets.
"""
