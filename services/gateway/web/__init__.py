"""What every route shares: middleware, problems, callers, bodies, documentation."""
