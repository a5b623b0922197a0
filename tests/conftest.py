"""For all tests: Ctrl-C reaches the processes that they start."""

import signal

# A shell ignores SIGINT for what it starts in the background, and so would each process that a test starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
