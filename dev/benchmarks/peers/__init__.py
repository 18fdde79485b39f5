"""Other stacks, measured in turn with ours on the same machine: a folder each, with its own locked requirements."""
