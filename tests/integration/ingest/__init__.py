"""The ingest service over gRPC, against real stores."""
