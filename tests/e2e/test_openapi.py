"""/openapi.json is a valid description, of every route and of nothing else."""

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from cambwatch.core.camb.kinds import KINDS

ROUTES = {  # of the contract, as far as they are there
    ("post", "/v1/tasks"),
    ("get", "/v1/tasks"),
    ("get", "/v1/tasks/{kind}/{task_id}"),
    ("delete", "/v1/tasks/{kind}/{task_id}"),
    ("post", "/v1/tasks/{kind}/{task_id}/poll"),
    ("get", "/v1/groups/{group}"),
    ("get", "/v1/deliveries"),
    ("post", "/v1/deliveries/retry"),
    ("get", "/v1/deliveries/{id}"),
    ("post", "/v1/deliveries/{id}/retry"),
    ("get", "/v1/destinations"),
    ("post", "/v1/destinations/{name}/test"),
    ("get", "/v1/kinds"),
    ("get", "/v1/durations"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
}
METHODS = {"get", "post", "put", "patch", "delete", "options", "trace"}


@pytest.fixture
async def made(daemon):
    return await daemon()


@pytest.fixture
async def described(made):
    return (await made.api.get("/openapi.json")).document


async def test_the_description_is_valid_openapi_3_1(described):
    OpenAPIV31SpecValidator(described).validate()
    assert described["openapi"].startswith("3.1")


async def test_it_describes_the_routes_of_the_contract_and_no_others(described):
    assert {(method, path) for path, item in described["paths"].items() for method in item} == ROUTES


async def test_every_route_is_there_and_refuses_the_methods_that_are_not_described(made, described):
    for path, item in described["paths"].items():
        there = path.format(kind="dub", **dict.fromkeys(("task_id", "group", "id", "name"), "unheard-of"))
        for method in METHODS:
            answer = await made.api.ask(method.upper(), there)
            assert (answer.status == 405) == (method not in item), f"{method} {path}: {answer.status}"


async def test_operations_have_names_of_their_own_and_say_what_they_are_for(described):
    operations = [operation for item in described["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] and operation["tags"] for operation in operations)


async def test_a_registration_is_described_with_every_field(described):
    fields = described["components"]["schemas"]["RegistrationBody"]
    assert fields["required"] == ["kind", "task_id"]
    assert fields["additionalProperties"] is False
    names = "kind task_id name labels notify group group_size account deadline extra"
    assert " ".join(fields["properties"]) == names
    body = described["paths"]["/v1/tasks"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    one, several = body["anyOf"]
    assert several == {"type": "array", "items": one, "minItems": 1, "maxItems": 1000}


async def test_a_delivery_is_described_with_what_it_is_about(described):
    schemas = described["components"]["schemas"]
    assert {"event_type", "task_id", "group", "about_destination"} <= set(schemas["ListedDeliveryView"]["required"])
    assert schemas["ListedDeliveryView"]["properties"]["about_destination"]["anyOf"] == [
        {"type": "string"},
        {"type": "null"},
    ]
    assert schemas["AttemptView"]["properties"]["delivery_count"]["type"] == "integer"
    assert "delivery_count" in schemas["AttemptView"]["required"]


async def test_the_limits_of_the_description_are_those_of_the_intake(made, described):
    """A longest value by the description is taken, one more is not."""
    fields = described["components"]["schemas"]["RegistrationBody"]["properties"]
    longest = {
        "task_id": "1" * fields["task_id"]["maxLength"],
        "name": "x" * fields["name"]["anyOf"][0]["maxLength"],
        "group": "x" * fields["group"]["anyOf"][0]["maxLength"],
        "group_size": fields["group_size"]["anyOf"][0]["maximum"],
        "extra": {str(number): 0 for number in range(fields["extra"]["maxProperties"])},
        "labels": {str(number): "" for number in range(fields["labels"]["maxProperties"])},
    }
    assert (await made.api.post({"kind": "dub", **longest})).status == 201
    for name, value in longest.items():
        more = value + 1 if isinstance(value, int) else value | {"more": ""} if isinstance(value, dict) else value + "x"
        refused = await made.api.post({"kind": "dub", "task_id": "a", name: more})
        assert (refused.status, refused.pointers) == (422, [f"#/{name}"])


async def test_a_client_is_told_where_a_token_is_needed(described):
    paths = described["paths"]
    assert described["security"] == [{}, {"token": []}]
    assert paths["/healthz"]["get"]["security"] == []
    without = [path for path, item in paths.items() for one in item.values() if "401" not in one["responses"]]
    assert without == ["/healthz"]


async def test_the_examples_are_true(made, described):
    """What the description shows as an example is taken."""
    wish = described["components"]["schemas"]["RegistrationBody"]["properties"]
    example = {name: field["examples"][0] for name, field in wish.items() if "examples" in field}
    assert example["kind"] in KINDS
    assert (await made.api.post(example)).status == 201
    for parameter in described["paths"]["/v1/tasks"]["get"]["parameters"]:
        shown = parameter["example"][0] if isinstance(parameter["example"], list) else parameter["example"]
        assert (await made.api.get(f"/v1/tasks?{parameter['name']}={shown}")).status == 200, parameter
    path = "/v1/tasks/{kind}/{task_id}"
    examples = {one["name"]: one["example"] for one in described["paths"][path]["get"]["parameters"]}
    assert (await made.api.get(path.format(**examples))).status == 200
