"""Makes the generated parts of the SDKs from the OpenAPI document."""
