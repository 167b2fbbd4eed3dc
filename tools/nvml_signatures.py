# SPDX-License-Identifier: Apache-2.0
"""Reads facts/nvml-functions.tsv and gives each NVML function its C types."""
import csv
import re
import sys
from dataclasses import dataclass

SIMPLE = {
    'dev': 'nvmlDevice_t', 'gi': 'nvmlGpuInstance_t', 'ci': 'nvmlComputeInstance_t',
    'evset': 'nvmlEventSet_t', 'unit': 'nvmlUnit_t', 'gpmsample': 'nvmlGpmSample_t',
    'u32': 'unsigned int', 'i32': 'int', 'u64': 'unsigned long long', 'ret': 'nvmlReturn_t',
    'u32:vgputype': 'nvmlVgpuTypeId_t', 'u32:vgpuinst': 'nvmlVgpuInstance_t',
}
VERBATIM = {
    'charbuf': 'char *', 'cstr': 'const char *', 'const void**': 'const void **',
    'const u8[16] guid': 'const unsigned char *',
}
# Functions without a version suffix keep the layout they were born with.
OLD_LAYOUTS = {
    'nvmlComputeInstanceGetInfo': ('ComputeInstanceInfo', 'ComputeInstanceInfo_v1'),
    'nvmlDeviceGetAttributes': ('DeviceAttributes', 'DeviceAttributes_v1'),
    'nvmlDeviceGetPciInfo': ('PciInfo', 'PciInfo_v1'),
    'nvmlDeviceGetPciInfo_v2': ('PciInfo', 'PciInfo_v2'),
    'nvmlEventSetWait': ('EventData', 'EventData_v1'),
}


@dataclass
class Function:
    symbol: str
    returns: str
    types: list  # C types with a trailing space or star, ready for a name
    kinds: list  # as in the facts: 'dev', 'u32*', ...

    def parameters(self, names=False):
        if not self.types:
            return 'void'
        if not names:
            return ', '.join(t.rstrip() for t in self.types)
        return ', '.join(f'{t}a{i}' for i, t in enumerate(self.types))

    def arguments(self):
        return ', '.join(f'a{i}' for i in range(len(self.types)))


def c_type(kind, declared):
    if kind in VERBATIM:
        text = VERBATIM[kind]
        return text if text.endswith('*') else text + ' '
    match = re.fullmatch(r'(const )?(.+?)(\*?)', kind)
    const, base, star = match.group(1) or '', match.group(2), match.group(3)
    if base in SIMPLE:
        name = SIMPLE[base]
    elif base.startswith('struct:'):
        name = f'nvml{base[7:]}_t'
        name = name if name in declared else 'void'
    elif base.startswith('enum:'):
        name = f'nvml{base[5:]}_t'
        name = name if name in declared else 'unsigned int'
    else:
        sys.exit(f'unknown kind of argument: {kind}')
    return f'{const}{name} {star}'


def load(header_path, functions_path):
    with open(header_path, encoding='utf-8') as file:
        declared = set(re.findall(r'\b(nvml\w+_t);', file.read()))
    functions = []
    with open(functions_path, encoding='utf-8') as file:
        for row in list(csv.reader(file, delimiter='\t'))[1:]:
            symbol, signature = row[0], row[1]
            match = re.fullmatch(r'(\w+) <- \((.*)\)', signature)
            kinds = [k for k in match.group(2).split(', ') if k]
            if symbol in OLD_LAYOUTS:
                new, old = OLD_LAYOUTS[symbol]
                kinds = [k.replace(f'struct:{new}*', f'struct:{old}*') for k in kinds]
            functions.append(Function(symbol, c_type(match.group(1), declared),
                                      [c_type(k, declared) for k in kinds], kinds))
    return functions
