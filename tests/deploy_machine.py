"""A Linux PC to follow docs/deploy.md on: this one, with what is written to /etc, /opt and /var thrown away.

A mount namespace lays an empty folder over each of them. ``sudo`` runs what follows as root or as the user of ``-u``;
``systemctl enable --now`` does what the unit says: its folders, its user, its command, and waits for READY=1.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY

__all__ = ["follow"]

SUDO = """#!/bin/sh
if [ "$1" = -u ]; then user=$2; shift 2; exec setpriv --reuid "$user" --regid "$user" --init-groups "$@"; fi
exec "$@"
"""

SYSTEMCTL = '''#!{python}
"""What systemd does with a unit of Type=notify, as far as this project's needs."""
import configparser, os, pwd, shlex, shutil, signal, socket, subprocess, sys
from pathlib import Path

if sys.argv[1:3] != ["enable", "--now"]:
    sys.exit(0)
unit = configparser.ConfigParser(strict=False, interpolation=None)
unit.optionxform = str
unit.read(f"/etc/systemd/system/{{sys.argv[3]}}.service")
service = unit["Service"]
for key, place in (("StateDirectory", "/var/lib"), ("CacheDirectory", "/var/cache")):
    folder = Path(place, service[key])
    folder.mkdir(parents=True, exist_ok=True)
    shutil.chown(folder, service["User"], service["User"])
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("/var/notify")
os.chmod("/var/notify", 0o777)
listener.settimeout(60)
words = ["setpriv", "--reuid", service["User"], "--regid", service["User"], "--init-groups"]
line = subprocess.Popen(
    [*words, *shlex.split(service["ExecStart"])],
    cwd="/", env={{"NOTIFY_SOCKET": "/var/notify", "PATH": "/usr/bin:/bin"}}, stderr=open("/var/journal", "w"),
)
told = listener.recv(4096).decode()
line.send_signal(signal.SIGTERM)
code = line.wait(60)
print("told:", told.splitlines()[0], "then exit code", code)
sys.exit(code)
'''

# What a fast run does in place of pip: the packages that are installed here, found from the new environment.
BORROW = """#!/bin/sh
[ "$1" = install ] || exit 2
site=$("$(dirname "$0")/python" -c 'import site; print(site.getsitepackages()[0])')
printf '%s\\n' {paths} > "$site/borrowed.pth"
printf '#!%s/python\\nfrom patchcore_edge_runtime.cli import main\\nmain()\\n' "$(dirname "$0")" \\
  > "$(dirname "$0")/patchcore-edge-runtime"
chmod +x "$(dirname "$0")/patchcore-edge-runtime"
"""

PYTHON3 = """#!/bin/sh
{python} "$@" || exit
for folder; do [ -x "$folder/bin/pip" ] && cp {pip} "$folder/bin/pip"; done
exit 0
"""


def follow(
    steps: str, scratch: Path, *, paths: list[str], python: str, install: bool
) -> subprocess.CompletedProcess[str]:
    """Run a page's shell block as root in the checkout, stopping at the first step that fails.

    Args:
        steps: the block, as it is written.
        scratch: an empty folder.
        paths: where the packages of this environment are, for a run that does not ``install``.
        python: the program that ``python3`` stands for.
        install: whether pip really installs; minutes.
    """
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs the program unshare, and root or the right to use it")
    programs = scratch / "bin"
    programs.mkdir()
    quoted = " ".join(f"'{path}'" for path in paths)
    texts = {
        "sudo": SUDO,
        "systemctl": SYSTEMCTL.format(python=python),
        "journalctl": "#!/bin/sh\nexec cat /var/journal\n",
        "borrow": BORROW.format(paths=quoted),
        "python3": f'#!/bin/sh\nexec {python} "$@"\n'
        if install
        else PYTHON3.format(python=python, pip=programs / "borrow"),
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    script = scratch / "steps.sh"
    apart = "\n".join(
        f"mkdir -p $top{place}/up $top{place}/work; "
        f"mount -t overlay over -o lowerdir={place},upperdir=$top{place}/up,workdir=$top{place}/work {place}"
        for place in ("/etc", "/opt", "/var")
    )
    script.write_text(
        f"set -e\ntop=$(mktemp -d)\nmount -t tmpfs apart $top\n{apart}\n"
        f"mkdir -p /etc/systemd/system\nexport PATH={programs}:/usr/sbin:$PATH\nunset PYTHONPATH\nset -x\n{steps}\n"
    )
    command = ["unshare", "--mount", "bash", str(script)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
