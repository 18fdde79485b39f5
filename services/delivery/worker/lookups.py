"""The system's resolver, asked in threads of its own.

A loop has a handful of threads for all who ask, and a name whose servers hang keeps one for many seconds. Here each
look-up has a thread, within bounds, and none of them holds up the end of the process.
"""

import asyncio
import contextlib
import socket
import threading
from socket import getaddrinfo
from weakref import WeakValueDictionary

MAX_AT_ONCE = 256
# Of names with the same last two labels, whose servers one owner may let hang.
MAX_OF_A_DOMAIN = 32
_DOMAIN_LABELS = 2


class Lookups:
    """Names to addresses. Beyond the bound they wait for each other, and those of one domain for none but their own."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        # They are there while somebody holds one or waits for it.
        self._domains: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name, each once, without zones; OSError or UnicodeError when it has none."""
        loop = asyncio.get_running_loop()
        async with self._of_domain(host), self._slots:
            answered: asyncio.Future[list[str]] = loop.create_future()

            def answer(found: list[str] | Exception) -> None:
                if answered.done():
                    return
                if isinstance(found, Exception):
                    answered.set_exception(found)
                else:
                    answered.set_result(found)

            def ask() -> None:
                found: list[str] | Exception
                try:
                    infos = getaddrinfo(host, port, type=socket.SOCK_STREAM)
                    found = list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in infos))
                except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
                    found = error
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants it any more
                    loop.call_soon_threadsafe(answer, found)

            threading.Thread(target=ask, name=f"resolve:{host}", daemon=True).start()
            return await answered

    def _of_domain(self, host: str) -> asyncio.Semaphore:
        labels = host.lower().removesuffix(".").split(".")
        domain = ".".join(labels[-_DOMAIN_LABELS:])
        return self._domains.setdefault(domain, asyncio.Semaphore(MAX_OF_A_DOMAIN))
