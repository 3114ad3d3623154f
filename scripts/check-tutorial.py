#!/usr/bin/env python3
"""Runs the commands of docs/tutorial.md beside `make run`'s processes and compares their output.

    scripts/check-tutorial.py           the programs of target/debug; they must be built
    scripts/check-tutorial.py release   those of target/release

All `sh` blocks run in order in one shell. A block without a language that follows one is its
output: each of its lines must be in the real output. A word with a digit or with `…` stands for
any word, and `…` at the end of a line for the rest of it.

Where the system allows it, everything runs in a network namespace of its own, so that no port is
in use.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TUTORIAL = Path("docs/tutorial.md")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
STARTED = "Stop it"
MARK = "==== block "
# Before each block, as with a person who reads; log lines are written some 10 ms late.
PAUSE_SECONDS = 0.3
START_SECONDS = 90
RUN_SECONDS = 120


def blocks(text):
    """Returns (commands, expected output or None) of each `sh` block but `make run`."""
    found = []
    for language, body in BLOCK.findall(text):
        if language == "sh":
            found.append([body, None])
        elif not language and found and found[-1][1] is None:
            found[-1][1] = body
    return [block for block in found if block[0].strip() != "make run"]


def pattern(line):
    """Returns the expression that a line of expected output stands for."""
    rest = line.rstrip().endswith(" …")
    words = line.removesuffix("…").split()
    parts = [r"\S+" if re.search(r"\d|…", word) else re.escape(word) for word in words]
    return re.compile(r"\s*" + r"\s+".join(parts) + (r".*" if rest else r"\s*$"))


def missing(expected, output):
    """Returns the first expected line that the output does not have, or None."""
    for line in expected.splitlines():
        wanted = pattern(line)
        if line.strip() and not any(map(wanted.match, output.splitlines())):
            return line
    return None


def wait_for_start(log, process):
    deadline = time.monotonic() + START_SECONDS
    while STARTED not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"error: scripts/run.sh did not start:\n{log.read_text()}")
        time.sleep(0.1)


def run(script, profile, folder):
    """Runs a script beside the daemons, in a folder that looks like the repository."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve()
    for entry in Path().iterdir():
        if entry.name in ("conf", "scripts"):
            shutil.copytree(entry, folder / entry)
        elif entry.name not in ("run", "target"):
            (folder / entry).symlink_to(entry.resolve())
    (folder / "target").symlink_to(target)
    environment = os.environ | {"PATH": f"{target / profile}:{os.environ['PATH']}"}
    environment.pop("CARGO_TARGET_DIR", None)
    log = folder / "run.log"
    with log.open("w") as file:
        command = ["scripts/run.sh", profile]
        daemons = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=environment
        )
    try:
        wait_for_start(log, daemons)
        return subprocess.run(
            ["bash"],
            input=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=RUN_SECONDS,
            cwd=folder,
            env=environment,
        ).stdout
    finally:
        daemons.send_signal(signal.SIGTERM)
        daemons.wait()


def check(profile):
    found = blocks(TUTORIAL.read_text())
    script = "".join(
        f"sleep {PAUSE_SECONDS}; printf '\\n%s\\n' '{MARK}{n}'\n{commands}\n"
        for n, (commands, _) in enumerate(found)
    )
    with tempfile.TemporaryDirectory() as folder:
        output = run(script, profile, Path(folder))
    outputs = re.split(rf"^{MARK}\d+\n", output, flags=re.M)[1:]
    failures = 0
    for (commands, expected), real in zip(found, outputs, strict=True):
        line = missing(expected, real) if expected else None
        if line is not None:
            failures += 1
            print(f"{TUTORIAL}: the output lacks the line\n  {line}\n$ {commands}{real}")
    print(f"{TUTORIAL}: {len(found)} blocks run, {failures} with other output")
    return 1 if failures else 0


def main():
    os.chdir(Path(__file__).resolve().parent.parent)
    isolate = ["unshare", "--map-root-user", "--net", "--fork", "--kill-child"]
    inside = "APP_PROXY_TUTORIAL"
    if inside not in os.environ:
        os.environ[inside] = "1"
        start = [*isolate, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        allowed = shutil.which(start[0]) and subprocess.run([*start, "true"], capture_output=True)
        if allowed and allowed.returncode == 0:
            os.execvp(start[0], [*start, sys.executable, *sys.argv])
    profile = sys.argv[1] if len(sys.argv) > 1 else "debug"
    sys.exit(check(profile))


if __name__ == "__main__":
    main()
