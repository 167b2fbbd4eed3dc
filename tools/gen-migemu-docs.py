#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes migemu's man page (scdoc) and shell completions from what `migemu VERB --help` prints.

    gen-migemu-docs.py man|bash|zsh|fish MIGEMU
"""
import re
import subprocess
import sys


class Verb:
    """One verb: its usage lines, summary, words of two-word verbs, options, settings, and text."""

    def __init__(self, migemu, name, summary):
        lines = run(migemu, name, "--help").splitlines()
        self.name, self.summary = name, summary
        usage = lines[0].split(" ", 3)[3]
        self.words = re.findall(r"(?:^|\| )([a-z]+)\b(?= )", usage)
        self.forms = usage.split(" | ") if self.words else [usage]
        self.items, self.text = [], []  # [term, meaning]; [line]
        for line in lines[3:]:
            item = re.match(r"  (\S.*?)  +(\S.*)$", line) or re.match(r"  (\S+=\S+) (\S.*)$", line)
            if item:
                self.items.append([item.group(1), item.group(2)])
                self.text.append(self.items[-1])
            elif line.startswith("          ") and self.items and self.text[-1] is self.items[-1]:
                self.items[-1][1] += " " + line.strip()
            else:
                self.text.append(line)
        self.options = [(term.split()[0], len(term.split()) > 1, meaning)
                        for term, meaning in self.items if term.startswith("--")]
        known = {option for option, _, _ in self.options}
        for option, value in re.findall(r"(--[a-z-]+)( [A-Z]+)?", usage):
            if option not in known:
                self.options.append((option, bool(value), ""))
        self.settings = [term.split("=")[0] for term, _ in self.items if "=" in term.split()[0]
                         and not term.startswith("--")]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read_verbs(migemu):
    lines = run(migemu, "--help").splitlines()
    rows = [re.match(r"  ([a-z]+)  +(\S.*)$", line) for line in lines]
    return [Verb(migemu, row.group(1), row.group(2)) for row in rows if row]


def escape(text):
    return re.sub(r"([_*\\`~<>#\[\]])", r"\\\1", text)


def man(verbs):
    out = ["migemu(1)", "", "# NAME", "",
           "migemu - emulated machines with MIG-capable GPUs, for programs that speak NVML", "",
           "# SYNOPSIS", "", "*migemu* _VERB_ _NODE_ [_ARGUMENT_]...", "", "# DESCRIPTION", "",
           "_NODE_ is a directory that holds one machine: its GPUs, their MIG instances, the processes on",
           "them, and what is to go wrong. Programs see it through an NVML library of its own, on the",
           "library path that *migemu env* prints and *migemu run* sets.", "", "# VERBS", ""]
    for verb in verbs:
        out += [f"## {verb.name}", ""]
        for form in verb.forms:
            out += [f"*migemu {verb.name}* {escape(form)}", ""]
        out += [f"{verb.summary[0].upper()}{escape(verb.summary[1:])}.", ""]
        paragraph = []
        for part in verb.text + [""]:
            if isinstance(part, str) and part:
                paragraph.append(escape(part.strip()))
                continue
            if paragraph:
                out += paragraph + [""]
                paragraph = []
            if not isinstance(part, str):
                term, meaning = part
                out += [f"*{escape(term)}*", f"\t{escape(meaning)}", ""]
    out += ["# EXIT STATUS", "", "*0*", "\tdone", "", "*1*", "\tit could not be done; *diff*: something changed", "",
            "*2*", "\tthe command line is wrong", "", "*5*", "\tsomebody uses what was to be changed", "",
            "*run* ends with the status of its command, 126 or 127 when it could not be started.", "",
            "# ENVIRONMENT", "", "*MIGEMU\\_NODE*", "\tthe machine that the emulated library works on", "",
            "*MIGEMU\\_DEBUG*", "\t1: the library says on standard error why there is no machine", "",
            "# EXAMPLES", "", "*migemu create node --gpu 'A30\\*2' --mig on*",
            "\tmake a machine with two A30s in MIG mode", "",
            "*migemu run node -- nvidia-smi*", "\tlook at it", "",
            "# SEE ALSO", "", "*migctl*(1)"]
    return "\n".join(out) + "\n"


def bash(verbs):
    out = ["# bash completion for migemu, generated from its help", "_migemu()", "{",
           "    local cur=${COMP_WORDS[COMP_CWORD]} words=", "    COMPREPLY=()",
           "    if [ \"$COMP_CWORD\" = 1 ]; then",
           f"        COMPREPLY=($(compgen -W '{' '.join(verb.name for verb in verbs)}' -- \"$cur\"))",
           "        return", "    fi", "    case ${COMP_WORDS[1]} in"]
    for verb in verbs:
        words = [option for option, _, _ in verb.options] + [f"{name}=" for name in verb.settings]
        first = f" [ \"$COMP_CWORD\" = 2 ] && words='{' '.join(verb.words)}';" if verb.words else ""
        out.append(f"    {verb.name}) words='{' '.join(words)}';{first};")
    out += ["    esac", "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))",
            "    [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- \"$cur\"))", "}",
            "complete -o filenames -F _migemu migemu"]
    return "\n".join(out) + "\n"


def quote(text):
    return text.replace("'", "'\\''")


def zsh(verbs):
    out = ["#compdef migemu", "# zsh completion for migemu, generated from its help", "_migemu()", "{",
           "    local -a verbs words_", "    verbs=("]
    out += [f"        '{verb.name}:{quote(verb.summary)}'" for verb in verbs]
    out += ["    )", "    if (( CURRENT == 2 )); then", "        _describe -t commands verb verbs",
            "        return", "    fi", "    case $words[2] in"]
    for verb in verbs:
        words = verb.words + [option for option, _, _ in verb.options]
        words += [f"{name}=" for name in verb.settings]
        out.append(f"    {verb.name}) words_=({' '.join(words)}) ;;")
    out += ["    esac", "    compadd -a words_", "    _files", "}", "", "_migemu \"$@\""]
    return "\n".join(out) + "\n"


def fish(verbs):
    out = ["# fish completion for migemu, generated from its help"]
    for verb in verbs:
        seen = f"-n '__fish_seen_subcommand_from {verb.name}'"
        out.append(f"complete -c migemu -f -n __fish_use_subcommand -a {verb.name} -d '{quote(verb.summary)}'")
        for word in verb.words + [f"{name}=" for name in verb.settings]:
            out.append(f"complete -c migemu {seen} -a {word}")
        for option, takes, meaning in verb.options:
            out.append(f"complete -c migemu {seen} -l {option[2:]}{' -r' if takes else ''}"
                       f" -d '{quote(meaning)}'")
    return "\n".join(out) + "\n"


def main():
    kinds = {"man": man, "bash": bash, "zsh": zsh, "fish": fish}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    sys.stdout.write(kinds[sys.argv[1]](read_verbs(sys.argv[2])))


if __name__ == "__main__":
    main()
