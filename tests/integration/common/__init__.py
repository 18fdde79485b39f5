"""services/common against real stores."""
