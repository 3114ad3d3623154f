"""A rough reader of Rust source, for scripts/house.py: enough to count items and to resolve paths.

It knows comments, strings, items, modules and `use`. It does not expand macros and does not infer
types, so a method call is no reference to the file that defines the method.
"""

import re
from pathlib import Path

_LITERAL = re.compile(
    r"""
    //[^\n]*
    | /\*.*?\*/
    | \b(?:br|cr|r)(?P<hashes>\#*)".*?"(?P=hashes)
    | \b[bc]?"(?:[^"\\]|\\.)*"
    | "(?:[^"\\]|\\.)*"
    | b?'(?:[^'\\\n]|\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.))'
    """,
    re.VERBOSE | re.DOTALL,
)
_CFG_TEST = re.compile(r"#\s*\[\s*cfg\s*\(\s*(?:test|all\s*\(\s*test\b[^\]]*)\s*\)\s*\]")
_MODULE_FILE = re.compile(r"\bmod\s+(\w+)\s*;")
_ITEM = re.compile(
    r"\b(?:(?:fn|struct|enum|trait|type|const|static|union)\s+(\w+)|macro_rules!\s*(\w+))"
)
_PATH = re.compile(r"(?<![\w:.])(\w+(?:\s*::\s*\w+)+)")
_IDENTIFIER = re.compile(r"(?<![\w'])[A-Za-z_]\w*")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def without_literals(text):
    """Returns the text with comments, strings and characters as spaces. Lines stay where they are."""
    return _LITERAL.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def closing(code, at):
    """Returns the index after the bracket that closes the one at `at`."""
    depth = 0
    for index in range(at, len(code)):
        if code[index] in "([{":
            depth += 1
        elif code[index] in ")]}":
            depth -= 1
            if depth == 0:
                return index + 1
    return len(code)


def item_end(code, at):
    """Returns the index after the item that begins at `at`: its `;`, or its closing brace."""
    while at < len(code):
        if code[at] == ";":
            return at + 1
        if code[at] == "{":
            return closing(code, at)
        at = closing(code, at) if code[at] in "([" else at + 1
    return at


def without_tests(code):
    """Returns the code with `#[cfg(test)]` items as spaces, and the modules that were among them."""
    modules = set()
    while found := _CFG_TEST.search(code):
        end = item_end(code, _after_attributes(code, found.end()))
        item = code[found.start() : end]
        modules.update(_MODULE_FILE.findall(item))
        code = code[: found.start()] + re.sub(r"[^\n]", " ", item) + code[end:]
    return code, modules


def _after_attributes(code, at):
    while attribute := re.compile(r"\s*#\s*\[").match(code, at):
        at = closing(code, attribute.end() - 1)
    return at


def functions(code):
    """Yields the name, the first line and the number of lines of each function that has a body."""
    for found in re.finditer(r"\bfn\s+(\w+)", code):
        end = item_end(code, found.end())
        if code[end - 1] == "}":
            lines = code.count("\n", found.start(), end) + 1
            yield found.group(1), code.count("\n", 0, found.start()) + 1, lines


class Module:
    """A module: the names that it defines and imports, and the paths that its code mentions."""

    def __init__(self, file, parent):
        self.file = file
        self.parent = parent
        self.root = parent.root if parent else self
        self.children = {}
        self.items = set()
        self.imports = {}  # the name: (segments of the path, whether it is a re-export)
        self.globs = []  # the same, of `use path::*`
        self.body = ""


class Crate:
    """The modules of a library without its test code, read from its `lib.rs` on."""

    def __init__(self, lib):
        self.files = {}  # each file, and its code without literals and tests
        self.modules = []
        self.root = self._read(lib, None, lib.parent)

    def _read(self, file, parent, folder):
        code, tests = without_tests(without_literals(file.read_text()))
        self.files[file] = code
        return self._module(code, file, parent, folder, tests)

    def _module(self, code, file, parent, folder, tests):
        module = Module(file, parent)
        self.modules.append(module)
        body, at = [], 0
        word = re.compile(r"\b(?:mod|use|impl)\b|[{]|" + _ITEM.pattern)
        while found := word.search(code, at):
            # Attributes and visibilities are in between.
            body.append(code[at : found.start()])
            if found.group() == "mod":
                at = self._child(module, code, found.start(), folder, tests)
            elif found.group() == "use":
                at = code.index(";", found.end()) + 1
                visible = re.search(r"\bpub\s*(\([^)]*\)\s*)?$", code[: found.start()])
                _import(module, code[found.end() : at - 1], bool(visible))
            elif re.match(r"const\s+(fn|unsafe|async|extern)\b", found.group()):
                at = found.start() + len("const")
            else:
                name = found.group(1) or found.group(2)
                if name:
                    module.items.add(name)
                at = item_end(code, found.start() if found.group() == "{" else found.end())
                body.append(self._local_imports(module, code[found.start() : at]))
        body.append(code[at:])
        module.body = "".join(body)
        return module

    def _child(self, module, code, at, folder, tests):
        found = re.compile(r"mod\s+(\w+)\s*([;{])").match(code, at)
        if not found:
            return at + len("mod")
        name, kind = found.groups()
        if kind == "{":
            end = closing(code, found.end() - 1)
            inner = code[found.end() : end - 1]
            child = self._module(inner, module.file, module, folder / name, tests)
            module.children[name] = child
            return end
        file = folder / f"{name}.rs"
        if not file.exists():
            file = folder / name / "mod.rs"
        if name not in tests and file.exists():
            module.children[name] = self._read(file, module, folder / name)
        return found.end()

    def _local_imports(self, module, item):
        """Reads the `use` of functions' bodies as the module's; returns the item without them."""

        def read(found):
            _import(module, found.group(1), False)
            return " "

        return re.sub(r"(?<=[{};])\s*use\s+([^;]+);", read, item)

    def references(self, to_children):
        """Returns the files that each file refers to, each with the paths that do it.

        The target of a path is the file that defines the name, whatever re-exports it. `to_children`
        adds the paths by which a module reaches into its child modules (`child::Name`).
        """
        arrows = {}
        for module in self.modules:
            for path in _mentioned(module):
                imported = module.imports.get(path[0])
                if imported and len(path) > 1:
                    # The import is an arrow itself, unless it names a module.
                    if not isinstance(self._lookup(module, imported[0], set()), Module):
                        continue
                first = imported[0][0] if imported else path[0]
                if first in module.children and not to_children:
                    continue
                target = self._resolve(module, path)
                if target and target != module.file:
                    arrows.setdefault(module.file, {}).setdefault(target, set()).add(
                        "::".join(path)
                    )
        return arrows

    def _resolve(self, module, path):
        """Returns the file that defines what a path names; None for a module or another crate."""
        found = self._lookup(module, path, set())
        return None if isinstance(found, Module) else found

    def _lookup(self, module, path, seen):
        if (module, tuple(path)) in seen:
            return None
        seen = seen | {(module, tuple(path))}
        path = list(path)
        while path and path[0] in ("crate", "self", "super"):
            first = path.pop(0)
            module = {"crate": module.root, "self": module, "super": module.parent}[first]
            if module is None:
                return None
        if not path:
            return module
        name, rest = path[0], path[1:]
        if name in module.children:
            return self._lookup(module.children[name], rest, seen) if rest else module.children[name]
        if name in module.items:
            return module.file
        if name in module.imports:
            source = module.imports[name][0]
            # `use log::log`: the path begins with another crate.
            return None if source[0] == name else self._lookup(module, source + rest, seen)
        for glob, _ in module.globs:
            source = self._lookup(module, glob, seen)
            if isinstance(source, Module):
                found = self._lookup(source, path, seen)
                if found:
                    return found
        return None


def _import(module, tree, visible):
    """Adds what a `use` binds."""
    for path, name in _use_tree(re.sub(r"\s+", " ", tree).strip(), []):
        if name == "*":
            module.globs.append((path, visible))
        elif path and path != [name]:
            module.imports[name] = (path, visible)


def _use_tree(tree, before):
    tree = tree.strip().removeprefix("::")
    if "{" not in tree:
        path, _, name = (part.strip() for part in tree.partition(" as "))
        segments = before + [part.strip() for part in path.split("::")]
        if segments[-1] == "self" and len(segments) > 1:
            segments.pop()
        if segments[-1] == "*":
            yield segments[:-1], "*"
        elif tree:
            yield segments, name or segments[-1]
        return
    head, _, rest = tree.partition("{")
    segments = before + [part.strip() for part in head.split("::") if part.strip()]
    depth, begin = 0, 0
    inner = rest[: rest.rindex("}")] + ","
    for index, character in enumerate(inner):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if inner[begin:index].strip():
                yield from _use_tree(inner[begin:index], segments)
            begin = index + 1


def _mentioned(module):
    """Yields the paths that a module refers to. A re-export counts where its file uses the name."""
    identifiers = set(_IDENTIFIER.findall(module.body))
    for name, (path, visible) in module.imports.items():
        if not visible or name in identifiers:
            yield path
    for glob, visible in module.globs:
        if not visible:
            for name in sorted(identifiers):
                yield glob + [name]
    for path in _PATH.findall(module.body):
        segments = re.split(r"\s*::\s*", path)
        first = segments[0]
        if first in ("crate", "self", "super") or first in module.children or first in module.imports:
            yield segments


def circles(arrows):
    """Returns the strongly connected components of more than one file (Tarjan's algorithm)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in arrows.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return found
