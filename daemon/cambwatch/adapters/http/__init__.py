"""
What the adapters for Camb and for receivers share of an HTTP client; aiohttp does the rest.

`target_url` makes the URL that is sent, `response_head` and `response_body` read an answer that breaks the rules of
HTTP, and `errors` says in our own words what went wrong.
"""
