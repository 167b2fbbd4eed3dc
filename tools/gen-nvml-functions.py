#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes nvml_functions.h: prototypes of all NVML functions in facts/nvml-functions.tsv.

Structs and enums that nvml_abi.h does not declare appear as `void *` and `unsigned int`, which is
the same to the linker.

usage: gen-nvml-functions.py nvml_abi.h nvml-functions.tsv OUTPUT
"""
import sys

import nvml_signatures


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    functions = nvml_signatures.load(sys.argv[1], sys.argv[2])
    lines = ['/* Made by tools/gen-nvml-functions.py; do not edit. */', '#ifndef NVML_FUNCTIONS_H',
             '#define NVML_FUNCTIONS_H', '', '#include "nvml/nvml_abi.h"', '',
             '#ifdef __cplusplus', 'extern "C" {', '#endif', '']
    for function in functions:
        lines.append(f'{function.returns}{function.symbol}({function.parameters()});')
    lines += ['', '#ifdef __cplusplus', '}', '#endif', '#endif']
    with open(sys.argv[3], 'w', encoding='utf-8') as file:
        file.write('\n'.join(lines) + '\n')


if __name__ == '__main__':
    main()
