"""The W&B server: whether it can be used, and sending runs to it. wandb itself runs in processes of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SILENT_S = 20  # the longest silence of the server; only the wait for the network counts, also on a busy machine
ANSWER_S, PROBE_S = 120, 600  # limits for one answer to wandb and for all answers; they include this machine's work
_WANDB_ERROR = "wandb: ERROR "

# Asks in three steps: for a key, for any answer, and for the key's account. wandb's own time limits also count the
# work of this machine, so they cannot tell a busy machine from a silent server. Time limits of sockets can.
_PROBE = """
import http.client, ssl, sys, urllib.error, urllib.request, wandb
wandb.login(verify=False)
settings = wandb.setup().settings
own = {scheme: getattr(settings, scheme + "_proxy", None) for scheme in ("http", "https")}
proxies = urllib.request.getproxies() | {scheme: proxy for scheme, proxy in own.items() if proxy}
try:
    urllib.request.build_opener(urllib.request.ProxyHandler(proxies)).open(settings.base_url, timeout=SILENT_S)
except (urllib.error.HTTPError, http.client.HTTPException):
    pass  # an answer, too
except OSError as error:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        sys.exit(f"no answer within {SILENT_S} s")
    if not isinstance(reason, ssl.SSLError):  # wandb has certificates of its own
        sys.exit(f"{settings.base_url} cannot be reached: {getattr(reason, 'strerror', None) or reason}")
wandb.Api(timeout=ANSWER_S).viewer
"""


def mode() -> str:
    """Returns W&B's mode. Nothing is sent unless the mode is "online"."""
    return os.environ.get("WANDB_MODE", "online")


def quiet() -> None:
    """Stops wandb from reporting its own crashes to its makers, unless the user has asked for it."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


def unreachable() -> str | None:
    """Returns why W&B's server cannot be used, such as no key, no network or no answer; None if it can."""
    limits = f"SILENT_S, ANSWER_S = {SILENT_S}, {ANSWER_S}"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", limits + _PROBE], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            errors="backslashreplace", timeout=PROBE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_S} s"
    if asked.returncode == 0:
        return None
    last = (asked.stderr.strip().splitlines() or [f"exit status {asked.returncode}"])[-1]
    return (last.partition("Error: ")[2] or last).rstrip(".")


def send(folders: Sequence[Path], timeout_s: float) -> str | None:
    """Sends the runs in `folders`. Returns why not all were sent, or None. The next attempt sends everything again."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-synced", *map(str, folders)]
    environment = os.environ | {"WANDB_MODE": "online", "WANDB_DIR": str(folders[0].parents[1])}  # for its logs
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="backslashreplace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except BaseException as error:  # end wandb's own processes, too
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"not sent within {timeout_s:.0f} s"
        raise
    lines = output.strip().splitlines()
    if process.returncode:
        return (lines or [f"exit status {process.returncode}"])[-1].removeprefix("Error: ")
    failed = [line.removeprefix(_WANDB_ERROR) for line in lines if line.startswith(_WANDB_ERROR)]
    return failed[-1] if failed else None  # a run that failed does not change the exit status
