#!/usr/bin/env python3
"""Measures the shape of the tree: language, visibility, circles, lengths, and what depends on what.

    scripts/house.py             every figure, each with its first offenders (`make house`)
    scripts/house.py --all hop   all offenders, of files whose path begins with `hop`
    scripts/house.py --check     exits with status 1 where a figure is beyond its limit

How each figure is counted:

- doc comments: blocks of `///` or `//!` lines in tracked `.rs` files; the first line counts.
- public items: lines that match `^\\s*pub ` (so not `pub(crate)`) in the library crates, outside test
  code. A thousand lines are lines of those files as they stand, with comments and unit tests; files
  that hold tests alone are left out. At commit 818f1d6: 1,404 items, 51 a thousand lines; 1,280
  items, 52 a thousand lines without `ctl`.
- circles: strongly connected files of one crate. An arrow is a path that begins with `crate`, `super`
  or an imported name, and leads to the file that defines what it names, through re-exports. A `mod`
  declaration is no arrow. Test code is left out. A second figure adds paths from a module into its
  child modules.
- lengths of lines are in characters. Exempt in Markdown: tables, fenced blocks, and lines without a
  space to break at.
- ends of the process: calls of `process::exit` and `.exit()` in the library crates, outside test code.
- functions: those of the library crates, outside test code, from `fn` to the closing brace.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
import rust_source  # noqa: E402

# False: `--check` prints what is beyond a limit, and succeeds all the same.
ENFORCED = True

LIBRARIES = ("api", "control", "hop", "engine", "store", "runtime", "coordinator", "worker", "ctl")
QUESTIONS = re.compile(r"(?:What|Whether|Who|Whose)\b")
MORE_QUESTIONS = re.compile(r"(?:What|Whether|Who|Whose|Whom|How|Where|When|Why|Which)\b")
MAX_LINE = 100
MAX_FUNCTION = 60
SHOWN = 12


class Figure:
    """A number with its limit and what makes it up."""

    def __init__(self, name, value, text, limit=None, offenders=()):
        self.name = name
        self.text = text
        self.beyond = limit is not None and value > limit
        self.limit = limit
        self.offenders = list(offenders)

    def print(self, shown):
        goal = "" if self.limit is None else f"  (at most {self.limit})"
        mark = "BEYOND" if self.beyond else "      "
        print(f"{mark} {self.name}: {self.text}{goal}")
        for line in self.offenders[:shown]:
            print(f"         {line}")
        if len(self.offenders) > shown:
            print(f"         … and {len(self.offenders) - shown} more (--all)")


class Tree:
    """The tracked files of a working tree."""

    def __init__(self, root, prefixes):
        self.root = root
        listed = _output(root, "git", "ls-files", "-z", "*.rs", "*.md").split("\0")
        paths = [root / name for name in listed if name and (root / name).is_file()]
        self.wanted = [path for path in paths if self.within(path, prefixes)]
        self.prefixes = prefixes
        self.rust = [path for path in self.wanted if path.suffix == ".rs"]
        self.markdown = [path for path in self.wanted if path.suffix == ".md"]
        self.crates = {}
        for name in LIBRARIES:
            lib = root / name / "src/lib.rs"
            if lib in paths:
                self.crates[name] = rust_source.Crate(lib)

    def within(self, path, prefixes):
        return not prefixes or any(self.name(path).startswith(prefix) for prefix in prefixes)

    def name(self, path):
        return str(path.relative_to(self.root))

    def code(self):
        """Yields each file of the library crates with its code outside tests."""
        for crate in self.crates.values():
            for file, code in crate.files.items():
                if self.within(file, self.prefixes):
                    yield file, code


def doc_comments(tree, words, name, limit):
    total, offenders, places = 0, [], {}
    for path in tree.rust:
        before = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r"\s*(//[/!])(?!/)(.*)", line)
            kind = found.group(1) if found else None
            if kind and kind != before:
                total += 1
                crate = tree.name(path).split("/")[0]
                counts = places.setdefault(crate, [0, 0])
                counts[1] += 1
                if words.match(found.group(2).strip()):
                    counts[0] += 1
                    offenders.append(f"{tree.name(path)}:{number}: {found.group(2).strip()}")
            before = kind
    share = 100 * len(offenders) / max(total, 1)
    text = f"{share:.1f} % ({len(offenders)} of {total}; {_places(places)})"
    return Figure(f"doc comments that begin with {name}", share, text, limit, offenders)


def public_items(tree):
    items, lines, places, files = 0, 0, {}, []
    for file, code in tree.code():
        count = len(re.findall(r"^\s*pub ", code, re.MULTILINE))
        length = len(file.read_text().splitlines())
        items, lines = items + count, lines + length
        crate = tree.name(file).split("/")[0]
        places.setdefault(crate, [0, 0])
        places[crate] = [places[crate][0] + count, places[crate][1] + length]
        files.append((count, f"{count:4} {tree.name(file)}"))
    rate = 1000 * items / max(lines, 1)
    text = f"{rate:.1f} ({items} in {lines} lines; {_places(places)})"
    offenders = [line for count, line in sorted(files, reverse=True) if count]
    return Figure("pub items a thousand lines", rate, text, 25, offenders)


def circles(tree, to_children):
    found, offenders = 0, []
    for crate in tree.crates.values():
        arrows = crate.references(to_children)
        for files in rust_source.circles(arrows):
            if not any(tree.within(file, tree.prefixes) for file in files):
                continue
            found += 1
            offenders.append("circle: " + " ".join(tree.name(file) for file in files))
            for source in files:
                for target, paths in sorted(arrows[source].items()):
                    if target in files:
                        names = f"{tree.name(source)} → {tree.name(target)}"
                        offenders.append(f"    {names}: {', '.join(sorted(paths))}")
    if to_children:
        name = "circles, with a module's paths into its children"
        return Figure(name, found, str(found), None, offenders)
    return Figure("circles between files", found, str(found), 0, offenders)


def long_rust_lines(tree):
    offenders = [
        f"{tree.name(path)}:{number}: {len(line)}"
        for path in tree.rust
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > MAX_LINE
    ]
    return Figure(f"lines over {MAX_LINE}, Rust", len(offenders), str(len(offenders)), 0, offenders)


def long_markdown_lines(tree):
    offenders, exempt = [], 0
    for path in tree.markdown:
        fenced = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            fence = line.lstrip().startswith("```")
            fenced ^= fence
            if len(line) <= MAX_LINE:
                continue
            text = re.sub(r"^\s*(?:[-*>]\s+|\d+\.\s+)?", "", line)
            if fenced or line.lstrip().startswith("|") or " " not in text[:MAX_LINE]:
                exempt += 1
            else:
                offenders.append(f"{tree.name(path)}:{number}: {len(line)}")
    text = f"{len(offenders)} ({exempt} exempt: tables, fenced blocks, no space to break at)"
    return Figure(f"lines over {MAX_LINE}, Markdown", len(offenders), text, 0, offenders)


def long_functions(tree):
    total, offenders = 0, []
    for file, code in tree.code():
        for name, line, length in rust_source.functions(code):
            total += 1
            if length > MAX_FUNCTION:
                offenders.append(f"{tree.name(file)}:{line}: {name}, {length} lines")
    text = f"{len(offenders)} of {total}"
    return Figure(f"functions over {MAX_FUNCTION} lines", len(offenders), text, None, offenders)


def process_ends(tree):
    """Finds libraries that end the process: a program around a tier must go on."""
    offenders = []
    for file, code in tree.code():
        for number, line in enumerate(code.splitlines(), 1):
            if re.search(r"\bprocess::(?:exit|abort)\b|\.exit\(\)", line):
                offenders.append(f"{tree.name(file)}:{number}: {line.strip()}")
    return Figure("ends of the process in libraries", len(offenders), str(len(offenders)), 0, offenders)


def examples(tree):
    doctests = 0
    for path in tree.rust:
        if path.relative_to(tree.root).parts[0] not in tree.crates:
            continue
        fenced = False
        for line in path.read_text().splitlines():
            found = re.match(r"\s*//[/!]\s*```(.*)", line)
            if found and not fenced:
                doctests += found.group(1).strip() in ("", "rust", "no_run", "should_panic")
            fenced ^= bool(found)
    files = [tree.name(path) for path in tree.rust if "examples" in path.parts]
    return Figure("doctests and examples", 0, f"{doctests} doctests, {len(files)} files in examples/")


def packages_of_ctl(tree, metadata):
    names = [package["name"] for package in metadata["packages"] if _folder(package) == "ctl"]
    if not names:
        return []
    command = ("cargo", "tree", "--locked", "-p", names[0], "-e", "normal", "--prefix", "none")
    lines = _output(tree.root, *command).splitlines()
    packages = {line.removesuffix(" (*)") for line in lines if line.strip()}
    pingora = sorted(package for package in packages if package.startswith("pingora"))
    return [
        Figure("crates that app-proxyctl compiles", 0, str(len(packages))),
        Figure("crates of Pingora among them", len(pingora), str(len(pingora)), 0, pingora),
    ]


def diagram(tree, metadata):
    """Compares the diagram of crates in ARCHITECTURE.md with what cargo says."""
    begin, end = "<!-- crates:begin -->", "<!-- crates:end -->"
    text = (tree.root / "ARCHITECTURE.md").read_text()
    if begin not in text:
        return Figure("differences of the diagram in ARCHITECTURE.md", 0, "there is none yet")
    drawn = set()
    for line in text.partition(begin)[2].partition(end)[0].splitlines():
        found = re.match(r"\s*([\w-]+)\s*(?:->|→)\s*(.*)", line)
        if found:
            targets = re.findall(r"[a-z][\w-]*", found.group(2))
            drawn.update((found.group(1), target) for target in targets if target != "nothing")
    members = {package["name"]: _folder(package) for package in metadata["packages"]}
    actual = {
        (members[package["name"]], members[dependency["name"]])
        for package in metadata["packages"]
        if members[package["name"]] in tree.crates
        for dependency in package["dependencies"]
        if dependency["kind"] is None and members.get(dependency["name"]) in tree.crates
    }
    # The diagram is of the proxy's crates; it may leave out the rest (tests, sample, bench).
    drawn = {arrow for arrow in drawn if arrow[0] in tree.crates or arrow[1] not in tree.crates}
    offenders = [f"{source} -> {target} is missing" for source, target in sorted(actual - drawn)]
    offenders += [f"{source} -> {target} is not so" for source, target in sorted(drawn - actual)]
    name = "differences of the diagram in ARCHITECTURE.md"
    return Figure(name, len(offenders), str(len(offenders)), 0, offenders)


def _folder(package):
    return Path(package["manifest_path"]).parent.name


def _places(places):
    counted = sorted(places.items(), key=lambda place: -place[1][0])
    return ", ".join(f"{name} {part}/{whole}" for name, (part, whole) in counted if part)


def _output(root, *command):
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("prefixes", nargs="*", metavar="PATH", help="only files that begin so")
    parser.add_argument("--all", action="store_true", help="every offender")
    parser.add_argument("--check", action="store_true", help="fail beyond a limit; print only that")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    options = parser.parse_args()

    root = options.root.resolve()
    tree = Tree(root, options.prefixes)
    metadata = json.loads(
        _output(root, "cargo", "metadata", "--locked", "--no-deps", "--format-version", "1")
    )
    figures = [
        doc_comments(tree, QUESTIONS, "What/Whether/Who/Whose", 2),
        doc_comments(tree, MORE_QUESTIONS, "these, How, Where, When, Why or Which", None),
        public_items(tree),
        circles(tree, to_children=False),
        circles(tree, to_children=True),
        long_rust_lines(tree),
        long_markdown_lines(tree),
        long_functions(tree),
        process_ends(tree),
        examples(tree),
        *packages_of_ctl(tree, metadata),
        diagram(tree, metadata),
    ]
    beyond = [figure for figure in figures if figure.beyond]
    for figure in beyond if options.check else figures:
        figure.print(sys.maxsize if options.all else SHOWN)
    if options.check and beyond:
        sys.exit(1 if ENFORCED else 0)


if __name__ == "__main__":
    main()
