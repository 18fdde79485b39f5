"""Check the chart's custom resources against their JSON schemas, without fields that the schemas do not name."""

import functools
import importlib
from typing import Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]

from tests.chart.rendering import Object

# Where the schema of an API is: a package for each project.
PACKAGES = {
    "cert-manager.io/v1": "cloudcoil.models.cert_manager.v1",
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
}
# For a project without such a package.
UNCHECKED = {"gateway.networking.k8s.io/v1"}


def is_custom(found: Object) -> bool:
    """Return whether the kind is not part of Kubernetes."""
    return found["apiVersion"] in PACKAGES.keys() | UNCHECKED


def of(objects: list[Object]) -> list[Object]:
    """Return the custom resources among some objects."""
    return [found for found in objects if is_custom(found)]


def check(found: Object) -> None:
    """Raise jsonschema.ValidationError if it is invalid."""
    _validator(found["apiVersion"], found["kind"]).validate(found)


@functools.cache
def _validator(version: str, kind: str) -> Any:
    model = getattr(importlib.import_module(PACKAGES[version]), kind)
    # Not checked itself: some patterns are Go's, of fields that the chart does not use.
    return jsonschema.Draft202012Validator(_closed(model.model_json_schema(by_alias=True)))


def _closed(schema: Any) -> Any:
    """Return the schema without additional fields, wherever it names any."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(value) for key, value in schema.items()}
    if "properties" in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made
