"""A client of the catalog of one ingest server."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from protos.webhook.v1 import catalog_pb2 as pb
from protos.webhook.v1 import catalog_pb2_grpc
from tests.ingest.conftest import CALL_SECONDS, Ingest

if TYPE_CHECKING:  # the asynchronous stubs exist only for the type checker
    from protos.webhook.v1.catalog_pb2_grpc import CatalogServiceAsyncStub

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "amount": {"type": "integer", "minimum": 0}},
    "required": ["id"],
}


class Catalog:
    """Calls in the tenant of a client."""

    def __init__(self, ingest: Ingest) -> None:
        self.ingest = ingest
        self.stub: CatalogServiceAsyncStub = catalog_pb2_grpc.CatalogServiceStub(ingest.channel)

    def creation(self, name: str = "order.created", schema: Any = ORDER, **fields: Any) -> pb.CreateEventTypeRequest:
        own = {key: fields.pop(key) for key in ("description", "validation", "idempotency_key") if key in fields}
        version = pb.EventTypeVersionSpec(schema=json.dumps(schema), **fields)
        return pb.CreateEventTypeRequest(tenant_id=self.ingest.tenant_id, name=name, version=version, **own)

    async def create(self, name: str = "order.created", schema: Any = ORDER, **fields: Any) -> pb.EventType:
        request = self.creation(name, schema, **fields)
        return (await self.stub.CreateEventType(request, timeout=CALL_SECONDS)).event_type

    async def get(self, type_id: str) -> pb.EventType:
        request = pb.GetEventTypeRequest(tenant_id=self.ingest.tenant_id, event_type_id=type_id)
        return (await self.stub.GetEventType(request, timeout=CALL_SECONDS)).event_type

    async def page(self, **fields: Any) -> pb.ListEventTypesResponse:
        request = pb.ListEventTypesRequest(tenant_id=self.ingest.tenant_id, **fields)
        return await self.stub.ListEventTypes(request, timeout=CALL_SECONDS)

    def change(self, type_id: str, **fields: Any) -> pb.UpdateEventTypeRequest:
        request = pb.UpdateEventTypeRequest(tenant_id=self.ingest.tenant_id, event_type_id=type_id, **fields)
        request.update_mask.paths.extend(fields)
        return request

    async def update(self, type_id: str, **fields: Any) -> pb.EventType:
        return (await self.stub.UpdateEventType(self.change(type_id, **fields), timeout=CALL_SECONDS)).event_type

    async def delete(self, type_id: str) -> None:
        request = pb.DeleteEventTypeRequest(tenant_id=self.ingest.tenant_id, event_type_id=type_id)
        await self.stub.DeleteEventType(request, timeout=CALL_SECONDS)

    async def add(self, type_id: str, schema: Any = ORDER, **fields: Any) -> pb.EventTypeVersion:
        spec = pb.EventTypeVersionSpec(schema=json.dumps(schema), **fields)
        request = pb.CreateEventTypeVersionRequest(tenant_id=self.ingest.tenant_id, event_type_id=type_id, spec=spec)
        return (await self.stub.CreateEventTypeVersion(request, timeout=CALL_SECONDS)).version

    async def version(self, type_id: str, number: int) -> pb.EventTypeVersion:
        request = pb.GetEventTypeVersionRequest(tenant_id=self.ingest.tenant_id, event_type_id=type_id, number=number)
        return (await self.stub.GetEventTypeVersion(request, timeout=CALL_SECONDS)).version

    async def update_version(self, type_id: str, number: int, **fields: Any) -> pb.EventTypeVersion:
        spec = pb.EventTypeVersionSpec(**fields)
        request = pb.UpdateEventTypeVersionRequest(
            tenant_id=self.ingest.tenant_id, event_type_id=type_id, number=number, spec=spec
        )
        request.update_mask.paths.extend(fields)
        return (await self.stub.UpdateEventTypeVersion(request, timeout=CALL_SECONDS)).version

    async def checked(self, type_id: str, schema: Any, number: int = 0) -> pb.CheckEventTypeVersionResponse:
        request = pb.CheckEventTypeVersionRequest(
            tenant_id=self.ingest.tenant_id, event_type_id=type_id, schema=json.dumps(schema), number=number
        )
        return await self.stub.CheckEventTypeVersion(request, timeout=CALL_SECONDS)


@pytest.fixture
def catalog(ingest: Ingest) -> Catalog:
    """The catalog of a new tenant."""
    return Catalog(ingest)
