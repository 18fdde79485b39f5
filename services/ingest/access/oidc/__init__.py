"""OpenID Connect: people sign in with an account of the organization's own, in place of an API key."""
