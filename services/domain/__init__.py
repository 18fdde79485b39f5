"""What more than one service knows of webhooks. It imports no service."""
