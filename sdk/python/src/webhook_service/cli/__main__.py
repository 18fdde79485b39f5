"""python -m webhook_service.cli."""

from webhook_service.cli import main

main()
