"""Tunes the garbage collector, whose full collections would find nothing."""

import gc

YOUNG_OBJECTS = 5000  # as many as a large batch makes


def settle_heap() -> None:
    """Exclude all objects that exist now from later collections, and collect less often.

    Modules, classes and schemas are some hundred thousand objects that never become garbage, and every full collection
    would look at each of them. The events of a batch are enough to cause full collections, and are not garbage until
    they are written. Source: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    young, *older = gc.get_threshold()
    if young != YOUNG_OBJECTS:  # to count what is frozen would take longer than to freeze it
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, *older)
