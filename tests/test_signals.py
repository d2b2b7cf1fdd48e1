"""Ctrl-C and SIGTERM within a command: the first ends it in order, wherever it comes."""

import signal
import sys
import threading

import pytest

from edgefed.cli.signals import ending_in_order

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_an_interrupt_and_handlers_come_back(number):
    outer = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests are to outlive their terminal
    try:
        before = [signal.getsignal(each) for each in NUMBERS], sys.unraisablehook

        with pytest.raises(KeyboardInterrupt), ending_in_order():
            signal.raise_signal(number)

        assert ([signal.getsignal(each) for each in NUMBERS], sys.unraisablehook) == before
    finally:
        signal.signal(signal.SIGHUP, outer)


def test_a_command_that_was_started_to_outlive_its_terminal_does():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with ending_in_order():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_one_that_comes_while_an_object_is_finalised_is_not_lost():
    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def wait():
        found = Finalised()
        del found  # Python tells of what is raised in here, and goes on
        threading.Event().wait(30)

    with pytest.raises(KeyboardInterrupt), ending_in_order():
        wait()


def test_another_thread_changes_no_handlers():
    seen = []

    def within():
        with ending_in_order():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()

    assert seen == [signal.getsignal(signal.SIGTERM)]
