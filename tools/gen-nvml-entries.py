#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the entry points of the emulated libnvidia-ml.so.1.

Every symbol of nvml-functions.tsv becomes an exported function that does what all calls have in
common (initialised? handle good? a fault due? trace it) and calls emu_NAME, where the sources
define it, with the resolved handle in the call instead of the first argument. All others give the
answer that unsupported.tsv has for them; a function in neither, or in both, is an error. Symbols
whose calls work before nvmlInit are defined by hand in library.c.

What kind of handle a function takes beside a GPU, and whether MIG mode forbids it, is in
handle-rules.tsv.

usage: gen-nvml-entries.py table|header|entries OUTPUT nvml_abi.h nvml-functions.tsv
                           handle-rules.tsv unsupported.tsv SOURCE...
"""
import csv
import re
import sys

import nvml_signatures

HANDLES = {'dev': 'EMU_HANDLE_GPU', 'gi': 'EMU_HANDLE_GI', 'ci': 'EMU_HANDLE_CI'}
RULES = {'mig-device': 'EMU_RULE_MIG_DEVICE', 'not-in-mig-mode': 'EMU_RULE_NOT_IN_MIG_MODE'}
PRIVATE = 'migemu_reset_gpu'  # exported beside NVML's functions, for nvidia-smi; the last id
NOTE = '/* Made by tools/gen-nvml-entries.py; do not edit. */'


def read_sources(paths):
    implemented, by_hand = set(), set()
    for path in paths:
        with open(path, encoding='utf-8') as file:
            text = file.read()
        implemented |= set(re.findall(r'^nvmlReturn_t\s+emu_([A-Z]\w+)\(', text, flags=re.M))
        by_hand |= set(re.findall(r'^EMU_EXPORT .*?\b(nvml\w+)\(', text, flags=re.M))
    return implemented, by_hand


def read_rules(path, functions):
    known = {function.symbol for function in functions}
    rules = {}
    with open(path, encoding='utf-8') as file:
        for row in csv.reader(file, delimiter='\t'):
            if not row or row[0].startswith('#'):
                continue
            if row[0] not in known or row[1] not in RULES:
                sys.exit(f'{path}: {row[0]} {row[1]}: unknown function or rule')
            rules.setdefault(row[0], []).append(RULES[row[1]])
    return rules


def read_answers(path, functions):
    """The fixed answer of each function that has no other; by its name without nvml."""
    known = {function.symbol for function in functions}
    answers = {}
    with open(path, encoding='utf-8') as file:
        for row in csv.reader(file, delimiter='\t'):
            if not row or row[0].startswith('#'):
                continue
            if row[0] not in known or len(row) != 3 or row[0][4:] in answers:
                sys.exit(f'{path}: {row[0]}: unknown function, no reason, or twice')
            answers[row[0][4:]] = f'NVML_ERROR_{row[1]}'
    return answers


def table(functions):
    lines = [NOTE, '#include "emulator/machine/functions.h"', '',
             'const char *const emu_function_names[] = {']
    lines += [f'    "{function.symbol[4:]}",' for function in functions]
    lines += [f'    "{PRIVATE}",', '};',
              f'const unsigned emu_function_names_count = {len(functions) + 1};']
    return lines


def takes_handle(function):
    return bool(function.kinds) and function.kinds[0] in HANDLES


def header(functions):
    lines = [NOTE, '#ifndef MIG_EMULATOR_ENTRIES_H', '#define MIG_EMULATOR_ENTRIES_H', '',
             '#include "emulator/driver/library.h"', '', 'enum {']
    lines += [f'    EMU_F_{function.symbol[4:]} = {i},' for i, function in enumerate(functions)]
    lines += [f'    EMU_F_{PRIVATE} = {len(functions)},', '};', '']
    for function in functions:
        if function.returns == 'nvmlReturn_t ':
            types = function.types[1 if takes_handle(function) else 0:]
            parameters = ', '.join(['struct emu_call *'] + [t.rstrip() for t in types])
            lines.append(f'nvmlReturn_t emu_{function.symbol[4:]}({parameters});')
    return lines + ['', '#endif']


def entry(function, number, answers, rules):
    name = function.symbol[4:]
    handle = HANDLES[function.kinds[0]] if takes_handle(function) else 'EMU_HANDLE_NONE'
    value = '(uintptr_t)a0' if takes_handle(function) else '0'
    first = 1 if takes_handle(function) else 0
    rule = ' | '.join([handle] + rules.get(function.symbol, []))
    lines = [f'EMU_EXPORT nvmlReturn_t {function.symbol}({function.parameters(names=True)})', '{']
    if name not in answers:
        arguments = ', '.join(['&call'] + [f'a{i}' for i in range(first, len(function.types))])
        lines += ['    struct emu_call call;',
                  f'    nvmlReturn_t rc = emu_enter(&call, {number}, {rule}, {value});',
                  '    if (rc == NVML_SUCCESS) {',
                  f'        rc = emu_{name}({arguments});',
                  '    }',
                  '    return emu_leave(&call, rc);']
    else:
        lines += [f'    (void)a{i};' for i in range(first, len(function.types))]
        lines += [f'    return emu_refuse({number}, {rule}, {value}, {answers[name]});']
    return lines + ['}', '']


def entries(functions, implemented, by_hand, rules, answers):
    unknown = {f'nvml{name}' for name in implemented} - {f.symbol for f in functions}
    if unknown:
        sys.exit(f'implemented, but no NVML functions: {sorted(unknown)}')
    for function in functions:
        name = function.symbol[4:]
        if (name in implemented or function.symbol in by_hand) == (name in answers):
            sys.exit(f'{function.symbol}: needs either an implementation or a row in '
                     'unsupported.tsv')
    lines = [NOTE, '#include "emulator/entries.h"', '#include "nvml/nvml_functions.h"', '']
    for number, function in enumerate(functions):
        if function.symbol not in by_hand:
            lines += entry(function, number, answers, rules)
    return lines


def main():
    if len(sys.argv) < 7:
        sys.exit(__doc__)
    what, output, abi, facts, rules_path, answers_path = sys.argv[1:7]
    functions = nvml_signatures.load(abi, facts)
    if what == 'table':
        lines = table(functions)
    elif what == 'header':
        lines = header(functions)
    else:
        implemented, by_hand = read_sources(sys.argv[7:])
        lines = entries(functions, implemented, by_hand, read_rules(rules_path, functions),
                        read_answers(answers_path, functions))
    with open(output, 'w', encoding='utf-8') as file:
        file.write('\n'.join(lines) + '\n')


if __name__ == '__main__':
    main()
