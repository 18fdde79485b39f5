"""The OS user that Postgres runs as, because Postgres refuses to run as root.

For root, a user `embedded_postgres` without a login is created once. To let it reach its files, other users may pass
through the folders above them (o+x, without listing), and may read and run the Postgres programs in the virtual
environment. Every changed permission is printed, and nothing else is changed.
"""

import os
import pwd
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.embedded.processes import EmbeddedError

NAME = "embedded_postgres"
_TRIES = 5

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user to run a program as."""

    name: str
    uid: int
    gid: int

    def popen_options(self) -> dict[str, Any]:
        """Return the arguments of subprocess.Popen that drop to this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def take(self, folder: Path) -> None:
        """Give the folder, and all in it that belongs to others, to this user."""
        for path in (folder, *folder.rglob("*")):
            if path.lstat().st_uid != self.uid:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)


def for_postgres(say: Say) -> Account | None:
    """Return the user to run Postgres as; None for the current one. EmbeddedError if we are root and there is none."""
    if os.geteuid() != 0:
        return None
    for attempt in range(_TRIES):
        try:
            entry = pwd.getpwnam(NAME)
        except KeyError:
            if attempt == 0:
                say(f"Postgres refuses to run as root: creating the OS user {NAME}")
            _add_user()
        else:
            return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
        # Another stack may be creating the same user, under the lock of the user database.
        time.sleep(0.2 * attempt)
    raise EmbeddedError(
        f"Postgres refuses to run as root, and the OS user {NAME} could not be created: run as a plain user"
    )


def _add_user() -> None:
    useradd = shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")
    if useradd is None:
        raise EmbeddedError(
            "Postgres refuses to run as root, and there is no useradd to create a user for it: run as a plain user"
        )
    # --user-group: some systems would put it into a group that all users share.
    command = [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME]
    subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - our own command line


def open_way(account: Account, targets: Iterable[Path], say: Say) -> None:
    """Let the account pass through every folder above the targets."""
    above = {folder for target in targets for folder in target.resolve().parents}
    closed = sorted(folder for folder in above if not _may_pass(folder, account))
    for folder in closed:
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
    if closed:
        say(f"{account.name} may now pass through (chmod o+x) {', '.join(str(folder) for folder in closed)}")


def open_tree(account: Account, folders: Iterable[Path], say: Say) -> None:
    """Let the account read the trees, and run what their owner can run."""
    opened: list[Path] = []
    for root in folders:
        changed = False
        for path in (root, *root.rglob("*")):
            if path.is_symlink():
                continue
            mode = stat.S_IMODE(path.stat().st_mode)
            wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
            if mode != wanted:
                path.chmod(wanted)
                changed = True
        if changed:
            opened.append(root)
    if opened:
        say(f"{account.name} may now read (chmod o+rX) {', '.join(str(folder) for folder in opened)}")


def _may_pass(folder: Path, account: Account) -> bool:
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
