"""HTTP servers and what arrives over them."""
