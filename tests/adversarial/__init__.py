"""Hostile input to the whole stack: it must not crash, hang, or deceive the service.

    make test ARGS=tests/adversarial             # the short mode, which is part of every `make test`
    make test ARGS="tests/adversarial --long"    # over 100,000 generated cases, in minutes

This package has its own stack. Generated targets lead nowhere (names in .invalid), and the receivers of these tests are
on 127.0.0.1. Every request takes its credentials from calls.py. After each module, the same processes must still run,
be ready, and have no bug in their logs. At the end, pytest prints the number of cases of each kind.
"""
