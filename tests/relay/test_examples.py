"""The examples of docs/guides/outbox.md run as printed."""

import asyncio
import os
import re
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.relay.conftest import GUIDE, Outbox


def blocks(language: str) -> list[str]:
    """Return the code of the guide in a language."""
    return re.findall(rf"^```{language}\n(.+?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def places(url: str) -> dict[str, str]:
    """Return the variables of the examples for a database."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    database = parts.path.lstrip("/")
    return {
        "SHOP_DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg://"),
        "SHOP_DATABASE": database,
        "SHOP_HOST": query["host"],
        "SHOP_PORT": query["port"],
    }


@pytest.mark.parametrize("name", ["shop_sqlalchemy.py", "shop_django.py"])
async def test_an_example_publishes_in_its_transaction(outbox: Outbox, tmp_path: Path, name: str) -> None:
    (code,) = (block for block in blocks("python") if block.startswith(f"# {name}\n"))
    user = str(urlsplit(outbox.owner_url).username)
    (tmp_path / name).write_text(code.replace('"USER": "shop"', f'"USER": "{user}"'))
    environment = {"PATH": os.environ["PATH"], **places(outbox.owner_url)}
    command = [sys.executable, name]
    done = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environment)
    assert await done.wait() == 0
    (row,) = await outbox.rows()
    assert (row["event_type"], row["payload"]) == ("order.created", b'{"order": 1, "item": "tea"}')
    assert row["tags"] == '{"order": "1"}'


async def test_statements_of_the_guide_are_valid(outbox: Outbox) -> None:
    await outbox.owner.execute("CREATE TABLE orders (item text)")
    first, *others = blocks("sql")
    await outbox.owner.execute(first)
    (row,) = await outbox.rows()
    assert row["payload"] == b'{"item": "tea"}'
    for statements in others:
        await outbox.owner.execute(statements)
