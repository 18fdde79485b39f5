"""The command webhookctl."""

import sys


def main() -> None:
    """Run webhookctl; say what is missing if the extra `cli` is not installed."""
    try:
        from webhook_service.cli.app import run
    except ImportError as error:
        if error.name not in {"typer", "rich", "yaml"}:
            raise
        sys.exit(f"webhookctl needs {error.name}: pip install 'webhook-service-sdk[cli]'")
    run()
