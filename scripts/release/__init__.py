"""What is published, and how it is checked: publishing.toml, `make release-check`, and the workflow of releases."""
