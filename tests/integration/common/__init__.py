"""services/platform and services/domain against real stores."""
