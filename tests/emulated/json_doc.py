# SPDX-License-Identifier: Apache-2.0
"""docs/json.md as something that can be checked: each document is held against its table there."""
import re

TYPES = {"text": str, "integer": int, "boolean": bool}
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \|")
HEADING = re.compile(r"^### (\S+)$")


class Documents:
    """The tables of docs/json.md: {heading: {field: type}}."""

    def __init__(self, path):
        self.tables = {}
        table = None
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                heading = HEADING.match(line)
                row = ROW.match(line)
                if heading:
                    table = self.tables.setdefault(heading.group(1), {})
                elif row and table is not None:
                    table[row.group(1)] = row.group(2).strip()

    def problems(self, document):
        """What in a document is not as described, as a list of texts."""
        schema = document.get("schema")
        rest = {key: value for key, value in document.items() if key not in ("schema", "error")}
        found = []
        if schema == "migctl/error/v1":
            if rest:
                found.append(f"an error document has {sorted(rest)}")
        elif schema not in self.tables:
            found.append(f"the schema {schema} is not described")
        else:
            found += self.object_problems(rest, schema, schema)
        if "error" in document:
            found += self.object_problems(document["error"], "error", "error")
        return found

    def object_problems(self, value, table_name, path):
        if not isinstance(value, dict):
            return [f"{path} is no object"]
        table = self.tables[table_name]
        found = [f"{path}.{key} is not described" for key in value if key not in table]
        for field, kind in table.items():
            optional = kind.endswith(", optional")
            if field not in value:
                found += [] if optional else [f"{path}.{field} is missing"]
            else:
                found += self.value_problems(value[field], kind.replace(", optional", ""),
                                             f"{path}.{field}")
        return found

    def value_problems(self, value, kind, path):
        if kind.endswith("?"):
            return [] if value is None else self.value_problems(value, kind[:-1], path)
        if kind.endswith("[]"):
            if not isinstance(value, list):
                return [f"{path} is no array"]
            return [problem for i, one in enumerate(value)
                    for problem in self.value_problems(one, kind[:-2], f"{path}[{i}]")]
        if kind in TYPES:
            good = isinstance(value, TYPES[kind]) and (kind != "integer" or
                                                       not isinstance(value, bool))
            return [] if good else [f"{path} is {value!r}, not {kind}"]
        return self.object_problems(value, kind.strip("*"), path)


def parse_yaml(text):
    """Reads the YAML that migctl writes: block mappings and sequences, plain or quoted scalars."""
    lines = [(len(line) - len(line.lstrip(" ")), line.strip()) for line in text.splitlines()]
    value, rest = _block(lines, 0, -1)
    if rest != len(lines):
        raise ValueError(f"line {rest + 1} does not belong to anything: {lines[rest]}")
    return value


def _scalar(text):
    constants = {"null": None, "true": True, "false": False, "[]": [], "{}": {}}
    if text in constants:
        return constants[text]
    if text.startswith('"'):
        import json
        return json.loads(text)
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def _block(lines, at, parent):
    """The value of the lines from `at` that are deeper than `parent`; and where it ends."""
    depth, text = lines[at]
    if text.startswith("- ") or text == "-":
        return _sequence(lines, at, depth)
    if re.match(r'("[^"]*"|[^"\s:]+):(\s|$)', text):
        return _mapping(lines, at, depth)
    if depth <= parent:
        raise ValueError(f"line {at + 1}: nothing there")
    return _scalar(text), at + 1


def _sequence(lines, at, depth):
    values = []
    while at < len(lines) and lines[at][0] == depth and lines[at][1].startswith("-"):
        lines[at] = (depth + 2, lines[at][1][2:])
        value, at = _block(lines, at, depth)
        values.append(value)
    return values, at


def _mapping(lines, at, depth):
    values = {}
    while at < len(lines) and lines[at][0] == depth and not lines[at][1].startswith("- "):
        match = re.match(r'("[^"]*"|[^"\s:]+):\s*(.*)$', lines[at][1])
        key, inline = _scalar(match.group(1)), match.group(2)
        at += 1
        if inline:
            values[key] = _scalar(inline)
        else:
            values[key], at = _block(lines, at, depth - 1)
    return values, at
