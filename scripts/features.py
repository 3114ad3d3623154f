#!/usr/bin/env python3
"""Gives the crates of others the same features whatever is built, so that `-p` rebuilds nothing.

Cargo enables the features that the selected packages ask for. Without more, `cargo test -p
app-proxy-hop` would build Tokio and Pingora again, with fewer features than the whole workspace
needs. The crate in `features/` asks for what differs, and engine, hop, tests, sample and bench depend on it.

    scripts/features.py            writes features/Cargo.toml and Cargo.lock
    scripts/features.py --check    fails where a selection of packages would build a crate again

`api`, `ctl` and `store` are left out: they compile few crates, and shall go on doing so. The units
are those of `cargo --unit-graph`, which cargo keeps unstable.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "features/Cargo.toml"
SAME = ("engine", "hop", "runtime", "coordinator", "worker", "tests", "sample", "bench")
BEGIN = "# Written by scripts/features.py from here on.\n"


def units(*arguments):
    """Returns the features of each crate that a command builds, by name, version and host or not."""
    command = ["cargo", *arguments, "--unit-graph", "-Zunstable-options", "--quiet"]
    environment = dict(os.environ, RUSTC_BOOTSTRAP="1")
    output = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    graph = json.loads(output.stdout)
    seen, waiting = set(), [(root, False) for root in graph["roots"]]
    found = {}
    while waiting:
        index, host = waiting.pop()
        if (index, host) in seen:
            continue
        seen.add((index, host))
        unit = graph["units"][index]
        for dependency in unit["dependencies"]:
            target = graph["units"][dependency["index"]]
            built = target["mode"] == "build"
            macro = target["target"]["kind"][0] in ("proc-macro", "custom-build")
            waiting.append((dependency["index"], host or (built and macro)))
        package = re.search(r"^registry\+.*[#/]([\w-]+)@(.*)$", unit["pkg_id"])
        if package and unit["mode"] == "build" and unit["target"]["kind"][0] != "custom-build":
            found.setdefault((*package.groups(), host), set()).add(tuple(unit["features"]))
    return found


def differences():
    """Returns the crates that would be built again, with the features that all packages need."""
    whole = units("test", "--workspace", "--no-run")
    selections = [("build", "--workspace", "--bins")]
    for folder in SAME:
        manifest = ROOT / folder / "Cargo.toml"
        if manifest.exists():
            name = re.search(r'^name = "(.+)"', manifest.read_text(), re.MULTILINE).group(1)
            selections += [("build", "-p", name), ("test", "-p", name, "--no-run")]
    found, reasons = {}, {}
    for selection in selections:
        for crate, features in units(*selection).items():
            if not features <= whole[crate]:
                found[crate] = sorted(set().union(*whole[crate]))
                reasons.setdefault(crate, f"cargo {' '.join(selection)}")
    return found, reasons


def write(crates):
    """Writes the manifest: crates of programs, then those of build scripts and macros."""
    tables = {False: [], True: []}
    for (name, version, host), features in sorted(crates.items()):
        major, minor, _ = version.split("+")[0].split(".")
        needed = f"{major}.{minor}" if major == "0" else major
        parts = [f'package = "{name}"', f'version = "{needed}"']
        if "default" not in features:
            parts.append("default-features = false")
        listed = ", ".join(f'"{feature}"' for feature in features if feature != "default")
        if listed:
            parts.append(f"features = [{listed}]")
        tables[host].append(f"{name}-{needed.replace('.', '-')} = {{ {', '.join(parts)} }}\n")
    head = MANIFEST.read_text().partition(BEGIN)[0]
    body = "[dependencies]\n" + "".join(tables[False])
    body += "\n[build-dependencies]\n" + "".join(tables[True])
    MANIFEST.write_text(head + BEGIN + body)


def written():
    """Returns the crates that the manifest names already, which `differences` does not report."""
    import tomllib

    manifest = tomllib.loads(MANIFEST.read_text())
    whole = units("test", "--workspace", "--no-run")
    found = {}
    for table, host in (("dependencies", False), ("build-dependencies", True)):
        for entry in manifest.get(table, {}).values():
            for (name, version, of_host), features in whole.items():
                matches = name == entry["package"] and of_host == host
                if matches and version.startswith(entry["version"] + "."):
                    found[(name, version, host)] = sorted(set().union(*features))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.check:
        _, reasons = differences()
        for (name, version, _), reason in sorted(reasons.items()):
            print(f"{reason} would build {name} {version} again, with other features")
        if reasons:
            sys.exit("error: please run scripts/features.py and commit what it writes")
        return
    crates = written()
    for _ in range(5):
        found, _ = differences()
        if not found:
            break
        crates.update(found)
        write(crates)


if __name__ == "__main__":
    main()
