#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of docs/clients.md names the clients that are tested, and says what the tests do."""
import importlib.machinery
import importlib.util
import unittest

from client_case import HERE, tap

DOCUMENT = HERE.parent.parent / "docs/clients.md"


def load_matrix():
    loader = importlib.machinery.SourceFileLoader("matrix", str(HERE / "matrix"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("matrix", loader))
    loader.exec_module(module)
    return module


class Matrix(unittest.TestCase):
    def setUp(self):
        self.matrix = load_matrix()
        text = DOCUMENT.read_text(encoding="utf-8")
        self.rows = [[cell.strip() for cell in line.strip("|\n").split("|")]
                     for line in self.matrix.split(text)[1].splitlines()[2:]]

    def test_clients_and_scenarios(self):
        self.assertEqual([(row[0], row[3]) for row in self.rows],
                         [(one.client, " ".join(one.__doc__.split()))
                          for one in self.matrix.clients()], "run: make client-matrix")

    def test_verdicts(self):
        for row in self.rows:
            self.assertRegex(row[2], r"^(works \(\d+ cases?\)|not to be had: .*)$", row[0])


if __name__ == "__main__":
    tap.main()
