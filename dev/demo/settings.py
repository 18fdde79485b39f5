"""What the demo reads from the environment and .env."""

from typing import Annotated

from pydantic import Field

from services.platform.settings import Settings


class DemoSettings(Settings):
    """Where a running service may be found."""

    # The gateway's.
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    # For a running service that asks for one: a key of role write.
    api_key: str = Field("", repr=False)
