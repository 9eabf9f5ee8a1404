"""Spares the garbage collector work that finds nothing."""

import gc

YOUNG_OBJECTS = 5000  # as many as a large batch makes


def settle_heap() -> None:
    """Take all that there is now out of later collections, once in a process, and collect less often.

    Modules, classes and schemas are some hundred thousand objects that never become garbage, and every full collection
    would look at each of them. The events of a batch are enough to cause full collections, and are not garbage until
    they are written. Source: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
