"""Reads the OpenAPI document of the service."""

from typing import Any


def read_operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation by its name, with the responses that it refers to."""
    found = {one["operationId"]: dict(one) for path in document["paths"].values() for one in path.values()}
    for operation in found.values():
        operation["responses"] = {
            status: document["components"]["responses"][response["$ref"].rpartition("/")[2]]
            if "$ref" in response
            else response
            for status, response in operation["responses"].items()
        }
    return found
