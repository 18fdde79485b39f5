"""The catalog as documents that other tools read and write: OpenAPI 3.1 with webhooks, and AsyncAPI 3.0."""
