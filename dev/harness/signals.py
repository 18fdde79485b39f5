"""Signals that end a command of dev/ in good order."""

import asyncio
import signal


def cancel_on_signals() -> None:
    """Cancel the current task at the first order to stop; further orders change nothing."""
    task = asyncio.current_task()

    def cancel() -> None:
        if task and not task.cancelling():
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, cancel)
