"""Keys that the processes of tests encrypt with, and what opens and seals as they do."""

import base64

from services.domain.secrets import encryption
from services.domain.secrets.encryption import Keys
from services.domain.secrets.vault import Vault

ENCRYPTION_KEY = base64.b64encode(b"the tests encrypt with this, not").decode()
OTHER_KEY = base64.b64encode(b"and later on, with this instead.").decode()


def keys(*texts: str) -> Keys:
    """Of these settings; without any, those of ENCRYPTION_KEY."""
    return Keys(encryption.parse_keys(",".join(texts or (ENCRYPTION_KEY,))))


def vault(*texts: str) -> Vault:
    """With these keys."""
    return Vault(keys(*texts))
