"""The worker: claims, signs, sends, records."""
