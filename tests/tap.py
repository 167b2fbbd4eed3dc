# SPDX-License-Identifier: Apache-2.0
"""Runs a unittest module and reports in TAP, one line per case, so that cases and skips are counted.

    import tap
    if __name__ == "__main__":
        tap.main()
"""
import sys
import unittest


class TapResult(unittest.TestResult):
    """Prints a line as each case ends; what went wrong follows as comments."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def line(self, ok, test, note=""):
        self.count += 1
        print(f"{'ok' if ok else 'not ok'} {self.count} - {test.id().split('.', 1)[-1]}{note}",
              flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line(True, test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(True, test, f" # SKIP {reason}")

    def addError(self, test, err):
        super().addError(test, err)
        self.line(False, test)
        self.explain(self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line(False, test)
        self.explain(self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.line(False, subtest)
            self.explain((self.failures + self.errors)[-1][1])

    @staticmethod
    def explain(text):
        print("\n".join("# " + line for line in text.splitlines()), flush=True)


def main(module="__main__"):
    loader = unittest.defaultTestLoader
    module = sys.modules[module]
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    result = TapResult()
    suite.run(result)
    print(f"1..{result.count}", flush=True)
    sys.exit(0 if result.wasSuccessful() else 1)
