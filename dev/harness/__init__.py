"""What tests share: a receiver, a running stack, stores, and waiting without sleeping."""
