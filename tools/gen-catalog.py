#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the GPU catalogue and the timing table as C from facts/.

    gen-catalog.py models facts/gpus.json catalog-data.c
    gen-catalog.py timings facts/timings.tsv timing-data.c

The input is checked before a line is written: whatever the C side relies on (limits of
include/mig/model.h, starts inside the GPU, one default compute instance, unique names) is either
true or an error that names the model, the profile and the value. Nothing is repaired.
"""
import json
import re
import sys

UNIT_MAX = 32
PROFILE_MAX = 24
CI_PROFILE_MAX = 12
CI_SLOT_MAX = 8  # compute slots inside a GPU instance
NAME_SIZE = 32
ENUM_MAX = 63
SLICE_MAX = 16

ARCHITECTURES = {
    'ampere': 'MIG_ARCH_AMPERE',
    'hopper': 'MIG_ARCH_HOPPER',
    'blackwell': 'MIG_ARCH_BLACKWELL',
}
CONFIDENCES = {
    'captured': 'MIG_CAPTURED',
    'documented': 'MIG_DOCUMENTED',
    'inferred': 'MIG_INFERRED',
}
# variant in the facts -> (C name, what a profile name of this variant ends in)
VARIANTS = {
    'base': ('MIG_VARIANT_BASE', ''),
    'mem2x': ('MIG_VARIANT_MEM2X', ''),
    'me': ('MIG_VARIANT_ME', '+me'),
    'me.all': ('MIG_VARIANT_ALL_ME', '+me.all'),
    'no-me': ('MIG_VARIANT_NO_ME', '-me'),
    'gfx': ('MIG_VARIANT_GFX', '+gfx'),
}
PROFILE_NAME = re.compile(r'(?:(\d+)c\.)?(\d+)g\.(\d+)gb((?:[+-][a-z.]+)?)')
BAR1_PREFERRED = 'up to R570'


class FactError(Exception):
    """The input says something that the C tables cannot hold."""


def fail(where, text):
    raise FactError(f'{where}: {text}')


def field(row, key, where):
    if key not in row:
        fail(where, f'field "{key}" is missing')
    return row[key]


def number(row, key, where, low, high, unknown=None):
    """An integer in low..high; null gives `unknown`, or an error when there is none."""
    value = field(row, key, where)
    if value is None:
        if unknown is None:
            fail(where, f'"{key}" is null, but has to be known')
        return unknown
    if isinstance(value, bool) or not isinstance(value, int):
        fail(where, f'"{key}" is {value!r}, not an integer')
    if not low <= value <= high:
        fail(where, f'"{key}" is {value}, not in {low}..{high}')
    return value


def boolean(row, key, where, unknown=None):
    value = field(row, key, where)
    if value is None and unknown is not None:
        return unknown
    if not isinstance(value, bool):
        fail(where, f'"{key}" is {value!r}, not true or false')
    return value


def word(row, key, where, table):
    value = field(row, key, where)
    if value not in table:
        fail(where, f'"{key}" is {value!r}, not one of {", ".join(table)}')
    return table[value]


def text(row, key, where):
    value = field(row, key, where)
    if not isinstance(value, str) or not value.strip() or not value.isascii():
        fail(where, f'"{key}" is {value!r}, not a plain text')
    return value


def hexadecimal(row, key, where, digits):
    value = text(row, key, where)
    if not re.fullmatch(r'0x[0-9A-Fa-f]{%d}' % digits, value):
        fail(where, f'"{key}" is {value!r}, not 0x and {digits} hexadecimal digits')
    return int(value, 16)


def quoted(value):
    if value is None:
        return 'NULL'
    return '"' + value.replace('\\', '\\\\').replace('"', '\\"') + '"'


def c_bool(value):
    return 'true' if value else 'false'


def without_remark(name):
    """Some names carry a remark in brackets, which is not part of the name."""
    return re.sub(r' \([^()]*\)$', '', name)


def lookup_key(name):
    """As catalog.c compares names: case, separators and the vendor's name do not count."""
    key = re.sub(r'[-_ ]', ' ', name.lower())
    return key[len('nvidia '):] if key.startswith('nvidia ') else key


class Arrays:
    """Named constant arrays; equal content is written once."""

    def __init__(self):
        self.names = {}
        self.lines = []
        self.counts = {}

    def add(self, kind, declaration, rows):
        if not rows:
            return 'NULL'
        body = ''.join(f'    {row},\n' for row in rows)
        key = (declaration, body)
        if key not in self.names:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            name = f'{kind}_{self.counts[kind]}'
            self.names[key] = name
            self.lines.append(f'static const {declaration}{name}[] = {{\n{body}}};\n')
        return self.names[key]

    def starts(self, starts):
        return self.add('starts', 'uint8_t ', [', '.join(map(str, starts))] if starts else [])


def placements(row, where, unit_max, required):
    """(size, starts); (0, []) when they are not known."""
    value = field(row, 'placements', where)
    if value is None:
        if required:
            fail(where, '"placements" is null, but the GPU has a known number of units')
        return 0, []
    size = number(value, 'size', where, 1, unit_max)
    starts = field(value, 'starts', where)
    if not isinstance(starts, list) or not starts:
        fail(where, '"starts" is not a list with anything in it')
    for start in starts:
        if isinstance(start, bool) or not isinstance(start, int) or start < 0:
            fail(where, f'start {start!r} is not a number')
        if start + size > unit_max:
            fail(where, f'start {start} and size {size} go past the end at {unit_max}')
    if starts != sorted(set(starts)):
        fail(where, f'starts {starts} are not ascending')
    return size, starts


def profile_name(row, where, suffix, slice_count, gi_name=None):
    """The name, checked against the grammar and against what the row says beside it."""
    name = text(row, 'name', where)
    match = PROFILE_NAME.fullmatch(name)
    if not match or len(name) >= NAME_SIZE:
        fail(where, f'"{name}" is not a profile name of less than {NAME_SIZE} characters')
    if match[4] != suffix:
        fail(where, f'"{name}" does not end in "{suffix}" as its variant says')
    if int(match[1] or match[2]) != slice_count:
        fail(where, f'"{name}" does not have {slice_count} compute slices')
    if gi_name is None and match[1]:
        fail(where, f'"{name}" names a part of a GPU instance')
    if gi_name is not None and re.sub(r'^\d+c\.', '', name) != gi_name:
        fail(where, f'"{name}" is not a part of {gi_name}')
    return name


def ci_profile(row, where, gi_name, gi_slice_count, suffix, arrays):
    slice_count = number(row, 'slice_count', where, 1, gi_slice_count)
    max_instances = number(row, 'max_instances', where, 1, CI_SLOT_MAX)
    name = profile_name(row, where, suffix, slice_count, gi_name)
    is_default = boolean(row, 'default', where)
    size, starts = placements(row, where, CI_SLOT_MAX, False)
    if slice_count * max_instances > gi_slice_count:
        fail(where, f'{max_instances} x {slice_count} slices do not fit in {gi_slice_count}')
    if is_default and (name != gi_name or max_instances != 1):
        fail(where, 'the default does not fill its GPU instance')
    return (f'{{{quoted(name)}, {number(row, "enum_value", where, 0, ENUM_MAX)}, '
            f'{number(row, "profile_id", where, 0, 255, -1)}, {slice_count}, {max_instances}, '
            f'{number(row, "sm_count", where, 1, 1024, -1)}, {c_bool(is_default)}, '
            f'{size}, {len(starts)}, {arrays.starts(starts)}}}')


def unique(rows, key, where):
    """Null is not a value: it may occur more than once."""
    seen = set()
    for row in rows:
        value = row.get(key)
        if value is not None and value in seen:
            fail(where, f'"{key}" {value!r} occurs twice')
        seen.add(value)


def ci_profiles(row, where, name, slice_count, suffix, arrays):
    rows = field(row, 'compute_instance_profiles', where)
    if not 1 <= len(rows) <= CI_PROFILE_MAX:
        fail(where, f'{len(rows)} compute-instance profiles, not 1..{CI_PROFILE_MAX}')
    unique(rows, 'enum_value', where)
    defaults = sum(1 for ci in rows if ci.get('default') is True)
    if defaults != 1:
        fail(where, f'{defaults} default compute-instance profiles, not one')
    lines = [ci_profile(ci, f'{where}: compute instance {ci.get("name")}', name, slice_count,
                        suffix, arrays) for ci in rows]
    return len(rows), arrays.add('ci_profiles', 'struct mig_ci_profile ', lines)


def bar1(row, where):
    seen = field(row, 'bar1_mib_observed', where)
    ordered = sorted(seen, key=lambda entry: entry.get('driver') != BAR1_PREFERRED)
    return number(ordered[0], 'mib', where, 1, 1 << 30) if ordered else -1


def memory(row, where):
    """(MiB, whether it is an estimate)."""
    known = number(row, 'memory_mib', where, 0, 1 << 30, -1)
    if known >= 0:
        return known, False
    estimate = number(row, 'memory_mib_estimate', where, 1, 1 << 30, -1)
    return estimate, estimate >= 0


def gi_profile(row, where, units, slices, arrays):
    variant, suffix = word(row, 'variant', where, VARIANTS)
    slice_count = number(row, 'slice_count', where, 1, slices)
    name = profile_name(row, where, suffix, slice_count)
    size, starts = placements(row, where, units, units > 0)
    ci_count, ci_array = ci_profiles(row, where, name, slice_count, suffix, arrays)
    memory_mib, is_estimate = memory(row, where)
    if boolean(row, 'gfx', where) != (variant == 'MIG_VARIANT_GFX'):
        fail(where, '"gfx" and "variant" disagree')
    engines = ', '.join(str(number(row, key, where, 0, 64, -1)) for key in (
        'copy_engines', 'decoders', 'encoders', 'jpegs', 'ofas'))
    return (f'{{.name = {quoted(name)}, .enum_value = '
            f'{number(row, "enum_value", where, 0, ENUM_MAX)}, '
            f'.driver_id = {number(row, "profile_id", where, 0, 255, -1)},\n'
            f'     .slice_count = {slice_count}, '
            f'.max_instances = {number(row, "max_instances", where, 1, SLICE_MAX)}, '
            f'.variant = {variant},\n'
            f'     .memory_mib = {memory_mib}, .memory_is_estimate = {c_bool(is_estimate)}, '
            f'.bar1_mib = {bar1(row, where)},\n'
            f'     .sm_count = {number(row, "sm_count", where, 1, 1024, -1)}, '
            f'.engines = {{{engines}}}, .p2p = {c_bool(boolean(row, "p2p", where))},\n'
            f'     .size = {size}, .start_count = {len(starts)}, '
            f'.starts = {arrays.starts(starts)},\n'
            f'     .ci_profile_count = {ci_count}, .ci_profiles = {ci_array},\n'
            f'     .confidence = {word(row, "confidence", where, CONFIDENCES)}}}')


def pci_ids(model, where, arrays):
    """Each listed subsystem, then the device with any subsystem."""
    lines = []
    for row in field(model, 'pci', where):
        device = hexadecimal(row, 'nvml_pci_device_id', where, 8)
        vendor = hexadecimal(row, 'vendor_id', where, 4)
        if device != hexadecimal(row, 'device_id', where, 4) << 16 | vendor:
            fail(where, '"nvml_pci_device_id" is not made of "device_id" and "vendor_id"')
        for subsystem in field(row, 'subsystems_in_driver_595_45_04', where):
            value = (hexadecimal(subsystem, 'subsystem_device', where, 4) << 16
                     | hexadecimal(subsystem, 'subsystem_vendor', where, 4))
            lines.append(f'{{0x{device:08X}, 0x{value:08X}}}')
        lines.append(f'{{0x{device:08X}, 0}}')
    if len(lines) != len(set(lines)) or len(lines) > 255:
        fail(where, 'a PCI identity occurs twice, or there are too many')
    return len(lines), arrays.add('pci_ids', 'struct mig_pci_id ', lines)


def names(model, where):
    """The name, and the other names: aliases, and what the driver calls single subsystems."""
    name = without_remark(text(model, 'name', where))
    others = []
    candidates = [without_remark(alias) for alias in field(model, 'aliases', where)]
    for row in field(model, 'pci', where):
        candidates += [entry['name'] for entry in row['subsystems_in_driver_595_45_04']]
    for other in candidates:
        if other != name and other not in others:
            others.append(other)
    return name, others


def capability(model, where):
    value = text(model, 'compute_capability', where)
    match = re.fullmatch(r'(\d{1,2})\.(\d{1,2})', value)
    if not match:
        fail(where, f'"compute_capability" is {value!r}')
    return int(match[1]), int(match[2])


def model_lines(model, arrays):
    name, others = names(model, str(model.get('name')))
    units = number(model, 'memory_slices', name, 1, UNIT_MAX, 0)
    slices = number(model, 'compute_slices', name, 1, SLICE_MAX)
    rows = field(model, 'gpu_instance_profiles', name)
    if len(rows) > PROFILE_MAX:
        fail(name, f'{len(rows)} profiles, more than {PROFILE_MAX}')
    for key in ('name', 'enum_value', 'profile_id'):
        unique(rows, key, name)
    lines = [gi_profile(row, f'{name}: {row.get("name")}', units, slices, arrays)
             for row in sorted(rows, key=lambda row: row.get('slice_count') or 0)]
    major, minor = capability(model, name)
    pci_count, pci_array = pci_ids(model, name, arrays)
    aliases = arrays.add('aliases', 'char *const ', [quoted(other) for other in others])
    profiles = arrays.add('profiles', 'struct mig_profile ', lines)
    min_driver = field(model, 'min_driver', name)
    return (f'    {{.name = {quoted(name)}, .aliases = {aliases}, .alias_count = {len(others)},\n'
            f'     .architecture = {word(model, "architecture", name, ARCHITECTURES)}, '
            f'.cc_major = {major}, .cc_minor = {minor},\n'
            f'     .pci_ids = {pci_array}, .pci_id_count = {pci_count},\n'
            f'     .total_memory_mib = {number(model, "total_memory_mib", name, 0, 1 << 30, -1)}, '
            f'.bar1_total_mib = {number(model, "bar1_total_mib", name, 1, 1 << 30, -1)},\n'
            f'     .unit_count = {units}, .compute_slice_count = {slices}, '
            f'.sm_total = {number(model, "sm_total", name, 1, 1024, -1)},\n'
            f'     .max_mig_devices = {number(model, "max_mig_devices", name, 1, SLICE_MAX)}, '
            f'.mode_needs_reset = '
            f'{c_bool(boolean(model, "mig_enable_needs_gpu_reset", name))},\n'
            f'     .mode_persists_reboot = '
            f'{c_bool(boolean(model, "mig_mode_persists_reboot", name, False))}, '
            f'.min_driver = {quoted(min_driver)},\n'
            f'     .profile_count = {len(rows)}, .profiles = {profiles},\n'
            f'     .confidence = {word(model, "confidence", name, CONFIDENCES)}}},\n')


def check_names(models):
    owners = {}
    for model in models:
        name, others = names(model, str(model.get('name')))
        for key in {lookup_key(known) for known in [name] + others}:
            if key in owners:
                fail(name, f'the name "{key}" also belongs to {owners[key]}')
            owners[key] = name


def generate_models(path):
    with open(path, encoding='utf-8') as file:
        models = json.load(file)
    if not isinstance(models, list) or not models:
        fail(path, 'not a list of GPUs')
    check_names(models)
    arrays = Arrays()
    lines = [model_lines(model, arrays) for model in models]
    return ('#include "catalog/catalog.h"\n\n' + '\n'.join(arrays.lines)
            + '\nconst struct mig_model mig_catalog_models[] = {\n' + ''.join(lines) + '};\n'
            + f'const size_t mig_catalog_model_count = {len(models)};\n')


def timing_line(row, where):
    for key in ('slice_count', 'create_ms', 'destroy_ms'):
        if not re.fullmatch(r'[1-9]\d{0,5}', row[key]):
            fail(where, f'"{key}" is {row[key]!r}, not a number')
    architecture, model = ARCHITECTURES.get(row['gpu']), None
    if not architecture:
        architecture, model = 'MIG_ARCH_UNKNOWN', row['gpu']
    if not row['source']:
        fail(where, 'a source is missing')
    return (f'    {{{quoted(model)}, {architecture}, {row["slice_count"]}, {row["create_ms"]}, '
            f'{row["destroy_ms"]}, {word(row, "confidence", where, CONFIDENCES)}}},\n')


def generate_timings(path):
    columns = ['gpu', 'slice_count', 'create_ms', 'destroy_ms', 'source', 'confidence']
    rows = []
    with open(path, encoding='utf-8') as file:
        for count, line in enumerate(file, 1):
            cells = line.rstrip('\n').split('\t')
            if count == 1:
                if cells != columns:
                    fail(f'{path}:1', f'the columns are not {", ".join(columns)}')
                continue
            if len(cells) != len(columns):
                fail(f'{path}:{count}', f'{len(cells)} cells, not {len(columns)}')
            rows.append((dict(zip(columns, cells)), f'{path}:{count}'))
    keys = [(row['gpu'], row['slice_count']) for row, _ in rows]
    if not keys or len(keys) != len(set(keys)):
        fail(path, 'no rows, or one that occurs twice')
    return ('#include "catalog/timing.h"\n\nconst struct mig_timing_row mig_timing_rows[] = {\n'
            + ''.join(timing_line(row, where) for row, where in rows) + '};\n'
            + f'const size_t mig_timing_row_count = {len(rows)};\n')


def main(arguments):
    generators = {'models': generate_models, 'timings': generate_timings}
    if len(arguments) != 4 or arguments[1] not in generators:
        print('usage: gen-catalog.py models|timings INPUT OUTPUT', file=sys.stderr)
        return 2
    try:
        body = generators[arguments[1]](arguments[2])
    except (FactError, KeyError, TypeError, ValueError, OSError) as error:
        print(f'gen-catalog.py: {arguments[2]}: {error}', file=sys.stderr)
        return 1
    with open(arguments[3], 'w', encoding='utf-8') as file:
        file.write('/* SPDX-License-Identifier: Apache-2.0 */\n'
                   '/* Generated by tools/gen-catalog.py; change the facts instead. */\n' + body)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
