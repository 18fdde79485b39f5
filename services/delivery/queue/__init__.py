"""What waits in the queue, for operators."""
