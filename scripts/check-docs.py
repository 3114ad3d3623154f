#!/usr/bin/env python3
"""Checks the tracked documents. Prints each finding as file:line and exits with 1 if there is one.

- Every relative link in a Markdown file leads to a file, and its anchor to a heading.
- Every path of this repository in backticks exists, so that a moved source file is noticed.
- Every `docs/….md` that a source file mentions exists.
- A code block below `<!-- from FILE -->` is a part of that file.
- An example has less than 60 lines, as the documents say.
- The toolchain is the minimum version of Rust, and the documents name that version.
- No line is longer than 100 characters, except in tables and code, or when it has no place to break.
"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

WIDTH = 100
EXAMPLE_LINES = 60
# Documents that tell readers which version of Rust they need.
NAME_RUST_VERSION = ["README.md", "docs/reference/compatibility.md"]
# Written about the past: the paths in it may be gone.
HISTORY = {"CHANGELOG.md"}

FENCE = re.compile(r"^\s*(```|~~~)")
HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^\s*\[[^\]]+\]:\s+<?(\S+?)>?\s*$")
CODE_SPAN = re.compile(r"`+[^`]*`+")
SOURCE_PATH = re.compile(r"^[\w.-]+(?:/[\w.-]+)+\.(?:rs|toml|yaml|sh|py|json|txt|md|cfg|conf)$")
EXCERPT = re.compile(r"^<!-- from (\S+) -->\n```\w*\n(.*?)^```$", re.M | re.S)
DOCUMENT = re.compile(r"(?<![\w/.-])docs/[\w./-]+\.(?:md|json)\b")


def tracked(*patterns):
    names = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], check=True, capture_output=True, text=True
    ).stdout.split("\0")
    return [Path(name) for name in names if name and Path(name).is_file()]


def outside_fences(lines):
    """Yields (number, line) of the lines that are not in a fenced code block."""
    fence = None
    for number, line in enumerate(lines, 1):
        mark = FENCE.match(line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is not None:
            if mark and mark[1] == fence:
                fence = None
        else:
            yield number, line


def slug(heading):
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"[^\w\- ]", "", text.strip().lower())
    return text.replace(" ", "-")


def anchors(path, cache={}):
    if path not in cache:
        found, seen = set(), {}
        for _, line in outside_fences(path.read_text().splitlines()):
            if heading := HEADING.match(line):
                name = slug(heading[2])
                count = seen.get(name, 0)
                seen[name] = count + 1
                found.add(f"{name}-{count}" if count else name)
        cache[path] = found
    return cache[path]


def check_target(path, target):
    """Returns what is wrong with a link's target, or None."""
    if re.match(r"^[a-z][a-z0-9+.-]*:", target, re.I):
        return None
    name, _, anchor = target.partition("#")
    file = path if not name else path.parent / unquote(name)
    if not file.exists():
        return f"{target}: no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors(file.resolve()):
        return f"{target}: no such heading"
    return None


def links(text):
    """Yields (offset, target) of each link in a text without code."""
    for link in LINK.finditer(text):
        yield link.start(), link[1]


def check_markdown(path, tops):
    lines = path.read_text().splitlines()
    plain = [""] * len(lines)
    for number, line in outside_fences(lines):
        plain[number - 1] = line
        tokens = line.split()
        # A token that fits in no line by itself has no place to break.
        breakable = tokens and max(map(len, tokens)) <= WIDTH - 8
        if len(line) > WIDTH and breakable and not line.lstrip().startswith("|"):
            yield number, f"{len(line)} characters; the limit is {WIDTH}"
        if definition := DEFINITION.match(line):
            if wrong := check_target(path, definition[1]):
                yield number, wrong
    # The text of a link, and a code span, may go over the end of a line.
    text = "\n".join(plain)
    for span in CODE_SPAN.finditer(text):
        word = span[0].strip("`")
        if path.name not in HISTORY and SOURCE_PATH.match(word) and word.split("/")[0] in tops:
            if not Path(word).exists():
                yield text.count("\n", 0, span.start()) + 1, f"{word}: no such file"
    text = CODE_SPAN.sub(lambda span: re.sub(r"[^\n]", "x", span[0]), text)
    for offset, target in links(text):
        if wrong := check_target(path, target):
            yield text.count("\n", 0, offset) + 1, wrong


def check_excerpts(path):
    """Yields what is wrong with code blocks that say which file they are from."""
    text = path.read_text()
    for mark in EXCERPT.finditer(text):
        number = text.count("\n", 0, mark.start()) + 1
        if not Path(mark[1]).is_file():
            yield number, f"{mark[1]}: no such file"
        elif f"\n{mark[2]}" not in Path(mark[1]).read_text():
            yield number, f"the code is not in {mark[1]}"


def check_source(path):
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError:
        return
    for number, line in enumerate(lines, 1):
        for mention in DOCUMENT.findall(line):
            if not Path(mention).exists():
                yield number, f"{mention}: no such document"


def check_examples():
    """Yields (path, line, what) for the examples that are longer than the documents say."""
    for path in tracked("examples/*.rs"):
        lines = len(path.read_text().splitlines())
        if lines >= EXAMPLE_LINES:
            yield path, lines, f"{lines} lines; the documents say less than {EXAMPLE_LINES}"


def check_rust_version():
    """Yields (path, line, what) where another version of Rust than the minimum is named."""
    minimum = re.search(r'^rust-version = "(.*)"', Path("Cargo.toml").read_text(), re.M)[1]
    text = Path("rust-toolchain.toml").read_text()
    toolchain = re.search(r'^channel = "(.*)"', text, re.M)
    # `1.95` and `1.95.0` are the same.
    if f"{toolchain[1]}.0".split(".")[:3] != f"{minimum}.0".split(".")[:3]:
        line = text.count("\n", 0, toolchain.start()) + 1
        yield "rust-toolchain.toml", line, f"{toolchain[1]}; `rust-version` is {minimum}"
    for path in NAME_RUST_VERSION:
        named = list(re.finditer(r"\bRust (\d+\.\d+(?:\.\d+)?)", text := Path(path).read_text()))
        if not named:
            yield path, 1, f"does not name the minimum version, Rust {minimum}"
        for name in named:
            if name[1] != minimum:
                yield path, text.count("\n", 0, name.start()) + 1, f"{name[0]}, not {minimum}"


def main():
    findings = 0
    # `run/` is made by the programs and is not in the repository.
    tops = {path.parts[0] for path in tracked() if len(path.parts) > 1}
    for path in tracked():
        if path.suffix == ".md":
            found = [*check_markdown(path, tops), *check_excerpts(path)]
        elif path.suffix in {".rs", ".toml", ".yaml", ".sh", ".py", ".txt", ""}:
            found = check_source(path)
        else:
            continue
        for number, what in found:
            print(f"{path}:{number}: {what}")
            findings += 1
    for path, number, what in [*check_examples(), *check_rust_version()]:
        print(f"{path}:{number}: {what}")
        findings += 1
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
