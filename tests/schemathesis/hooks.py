"""Keeps what Schemathesis makes up on this machine, and the run short.

Addresses of workers and applications and the targets of webhooks become such of the loopback network on which nothing
listens: the daemons connect to them. Only what has the described form is changed, into what the coordinator takes: what
was not valid stays so.
"""

import hashlib
import re

import schemathesis
from schemathesis import GenerationMode
from schemathesis.generation.meta import TestPhase

INET = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]+)")
URL = re.compile(r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:[0-9]+)?(?P<rest>[/?#].*)?")
PERIOD = re.compile(r"([0-9]+(ms|s|m|h|d))+")


def loopback(host):
    """An address of 127.128.0.0/9 that stands for a host: another one for another host."""
    digest = hashlib.sha256(host.lower().encode()).digest()
    return f"127.{digest[0] | 128}.{digest[1]}.{digest[2] or 1}"


def local_address(text):
    if text.startswith("unix:/") and len(text) > len("unix:/"):
        return "unix:/nonexistent/" + hashlib.sha256(text.encode()).hexdigest()[:16] if len(text) < 100 else text
    match = INET.fullmatch(text)
    return f"{loopback(match['host'])}:{match['port']}" if match else text


def local_url(text):
    match = URL.fullmatch(text)
    if not match:
        return text
    return f"{match['scheme']}://{loopback(match['host'])}{match['port'] or ''}{match['rest'] or ''}"


def literal_host(text):
    """An IPv6 address in place of what only looks like one."""
    if not re.fullmatch(r"\[[0-9A-Fa-f:.]+\]", text):
        return text
    return f"[2001:db8::{hashlib.sha256(text.encode()).hexdigest()[:4]}]"


def without_repetition(endpoints):
    """Endpoints with an address each; two that are the same altogether stay, since that is not valid."""
    kept = []
    for endpoint in endpoints:
        same = [item for item in kept if isinstance(item, dict) and isinstance(endpoint, dict) and item != endpoint]
        if not any(item.get("address") == endpoint.get("address") for item in same):
            kept.append(endpoint)
    return kept


def localise(value):
    """Changes what is an address, and a number in the wrong spelling, anywhere in a body."""
    if isinstance(value, dict):
        changes = {"address": local_address, "notify": local_url, "host": literal_host}
        return {
            key: changes[key](item) if key in changes and isinstance(item, str) else localise(item)
            for key, item in value.items()
        }
    # To JSON Schema 3.0 is an integer, to the coordinator it is none.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [localise(item) for item in value] if isinstance(value, list) else value


def precondition(case):
    """Mends `If-Match` and `If-None-Match` where Schemathesis takes them for valid and they are not."""
    if not case.headers or not case.meta or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    # Schemathesis 4.32 puts `0` where a header has a pattern.
    for name, valid in {"If-Match": '"7"', "If-None-Match": "*"}.items():
        if case.headers.get(name) == "0":
            case.headers[name] = valid
    # One excludes the other, which a description cannot say.
    if "If-Match" in case.headers:
        case.headers.pop("If-None-Match", None)


@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, (dict, list)):
        case.body = localise(case.body)
    if isinstance(case.body, dict) and isinstance(case.body.get("endpoints"), list):
        case.body["endpoints"] = without_repetition(case.body["endpoints"])
    wait = (case.query or {}).get("wait")
    if isinstance(wait, str) and PERIOD.fullmatch(wait):
        case.query["wait"] = "20ms"
    precondition(case)
    # A process of a worker that leaves takes out no other process: what follows the call would expect the worker to be gone.
    if case.query and case.meta and case.meta.phase.name is TestPhase.STATEFUL:
        case.query.pop("instance", None)
    # The name of an app stands in the path, and may stand in the body: two names that are made up are never the same.
    if isinstance(case.body, dict) and isinstance(case.body.get("name"), str) and "name" in case.path_parameters:
        name = case.path_parameters["name"]
        valid = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
        if isinstance(name, str) and valid.fullmatch(name) and valid.fullmatch(case.body["name"]):
            case.body["name"] = name
