#!/usr/bin/env python3
"""Compares two descriptions of the admin API (OpenAPI), an earlier one and this version's.

Prints everything that a client of the earlier one could miss, and exits with 1 if there is any:
calls, parameters, statuses, fields or values that are gone, types that are others, and what a
request must have that it did not have to have. Descriptive texts may change.
"""

import argparse
import json
import sys
from pathlib import Path

METHODS = {"get", "put", "post", "delete", "patch", "head"}
# Statuses that a call may stop answering with.
OPTIONAL = {"4", "5"}


class Comparison:
    def __init__(self, old, new):
        self.old, self.new = old, new
        self.findings = []
        self.seen = set()

    def report(self, where, what):
        self.findings.append(f"{where}: {what}")

    def resolve(self, document, node):
        while "$ref" in node:
            target = document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            node = target
        return node

    def flat(self, document, node):
        """The schema that a reference names, without an alternative `null`, its parts in one."""
        node = self.resolve(document, node)
        choices = [each for each in node.get("oneOf", []) if each.get("type") != "null"]
        if len(choices) == 1:
            return self.flat(document, choices[0])
        flat = dict(node)
        for part in (self.flat(document, each) for each in node.get("allOf", [])):
            flat["type"] = part.get("type", "object")
            flat["properties"] = flat.get("properties", {}) | part.get("properties", {})
            flat["required"] = flat.get("required", []) + part.get("required", [])
        return flat

    def run(self):
        for path, item in self.old["paths"].items():
            for method in METHODS & item.keys():
                where = f"{method.upper()} {path}"
                operation = self.new["paths"].get(path, {}).get(method)
                if operation is None:
                    self.report(where, "is gone")
                else:
                    self.operation(where, item[method], operation)
        return self.findings

    def operation(self, where, old, new):
        key = lambda parameter: (parameter["in"], parameter["name"])
        before = {key(each): each for each in old.get("parameters", [])}
        after = {key(each): each for each in new.get("parameters", [])}
        for name in before.keys() - after.keys():
            self.report(where, f"the parameter {name[1]} is gone")
        for name, parameter in after.items():
            if parameter.get("required") and not before.get(name, {}).get("required"):
                self.report(where, f"the parameter {name[1]} is required")
        self.content(where, old.get("requestBody", {}), new.get("requestBody", {}), "request")
        for status, response in old["responses"].items():
            other = new["responses"].get(status)
            if other is not None:
                self.content(f"{where} {status}", response, other, "response")
            elif status[0] not in OPTIONAL:
                self.report(where, f"the status {status} is gone")

    def content(self, where, old, new, use):
        old, new = self.resolve(self.old, old), self.resolve(self.new, new)
        for kind, media in old.get("content", {}).items():
            other = new.get("content", {}).get(kind)
            if other is None:
                self.report(where, f"{kind} is gone")
            else:
                self.schema(where, media.get("schema", {}), other.get("schema", {}), use)

    def schema(self, where, old, new, use):
        pair = (str(old.get("$ref")), str(new.get("$ref")), use)
        if pair[0] != "None" and pair in self.seen:
            return
        self.seen.add(pair)
        old, new = self.flat(self.old, old), self.flat(self.new, new)
        if not set(kinds(old)) <= set(kinds(new)):
            self.report(where, f"{kinds(new)} instead of {kinds(old)} ({use})")
        for value in set(old.get("enum", [])) - set(new.get("enum", old.get("enum", []))):
            self.report(where, f"the value {value} is gone ({use})")
        for name, field in old.get("properties", {}).items():
            if name in new.get("properties", {}):
                self.schema(f"{where}.{name}", field, new["properties"][name], use)
            else:
                self.report(where, f"the field {name} is gone ({use})")
        before, after = set(old.get("required", [])), set(new.get("required", []))
        if use == "request":
            for name in after - before:
                self.report(where, f"the field {name} is required (request)")
        else:
            for name in (before - after) & new.get("properties", {}).keys():
                self.report(where, f"the field {name} may be absent (response)")
        if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
            self.schema(f"{where}[]", old["items"], new["items"], use)


def kinds(schema):
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    old, new = (json.loads(path.read_text()) for path in (options.old, options.new))
    findings = Comparison(old, new).run()
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
