#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a C file of static asserts that holds src/nvml/nvml_abi.h against the facts.

For every struct the header declares: its size, and offset and size of every field, from
nvml-abi.tsv. For every constant the header names: its value, from nvml-enums.tsv. A type or
constant the facts do not know is an error, so that nothing in the header goes unchecked.

usage: gen-abi-asserts.py HEADER nvml-abi.tsv nvml-enums.tsv OUTPUT
"""
import csv
import re
import sys

# Declared by the header but no part of NVML's documented names: parts of another struct, checked
# through it.
PARTS = {'nvmlGpuDynamicPstatesUtilization_t', 'nvmlGpmMetricMetricInfo_t'}


def rows(path):
    with open(path, encoding='utf-8') as file:
        yield from list(csv.reader(file, delimiter='\t'))[1:]


def without_comments(text):
    return re.sub(r'/\*.*?\*/', ' ', text, flags=re.S)


def struct_asserts(header, path):
    declared = set(re.findall(r'^\}\s*(nvml\w+_t);', header, flags=re.M))
    declared |= set(re.findall(r'^typedef nvml\w+_t (nvml\w+_t);', header, flags=re.M))
    enums = set(re.findall(r'typedef enum \{[^}]*\}\s*(nvml\w+_t);', header))
    declared -= enums | PARTS
    seen = set()
    for struct, field, offset, size in rows(path):
        name = struct.split(' ')[0]
        if name not in declared:
            continue
        seen.add(name)
        if field == '(sizeof)' or field.startswith('(alias'):
            yield f'_Static_assert(sizeof({name}) == {size}, "size of {name}");'
            continue
        yield (f'_Static_assert(__builtin_offsetof({name}, {field}) == {offset}, '
               f'"offset of {name}.{field}");')
        yield (f'_Static_assert(sizeof((({name} *)0)->{field}) == {size}, '
               f'"size of {name}.{field}");')
    if declared - seen:
        sys.exit(f'structs of the header that the facts lack: {sorted(declared - seen)}')


def constant_asserts(header, path):
    used = set(re.findall(r'\b[A-Za-z_][A-Za-z0-9_]*\b', header))
    seen = set()
    for group, name, value, _ in rows(path):
        if name not in used:
            continue
        seen.add(name)
        # Version words are written as in the facts; the rest is compared as wide integers.
        yield f'_Static_assert((long long)({name}) == {value}LL, "value of {name}");'
    defined = set(re.findall(r'\b(NVML_[A-Z0-9_]+)\s*=', header))
    defined |= set(re.findall(r'#define (NVML_[A-Z0-9_]+|nvml\w+_v\d|NO_\w+|MAX_\w+) ', header))
    unknown = defined - seen
    if unknown:
        sys.exit(f'constants of the header that the facts lack: {sorted(unknown)}')


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    header_path, abi_path, enums_path, output = sys.argv[1:]
    with open(header_path, encoding='utf-8') as file:
        header = without_comments(file.read())
    lines = ['/* Made by tools/gen-abi-asserts.py; do not edit. */', '#include "nvml/nvml_abi.h"', '']
    lines += list(struct_asserts(header, abi_path))
    lines += list(constant_asserts(header, enums_path))
    with open(output, 'w', encoding='utf-8') as file:
        file.write('\n'.join(lines) + '\n')


if __name__ == '__main__':
    main()
