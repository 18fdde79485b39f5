"""Input that means harm, against the whole stack: nothing of it may crash, hang or deceive the service.

    make test ARGS=tests/adversarial             # the short mode, which is part of every `make test`
    make test ARGS="tests/adversarial --long"    # over 100,000 generated cases, in minutes

The stack is this package's own. What is made up for targets of its worker leads nowhere (names in .invalid); receivers
of these tests are on 127.0.0.1. Every request takes its credentials from access.py. After each module the processes
must be the ones that were there before it, ready, and without a bug in their logs. At the end pytest says how many
cases of each kind were tried.
"""
