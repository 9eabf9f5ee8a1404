"""Tunes the garbage collector, so that it does not scan objects that live as long as the process."""

import gc

YOUNG_OBJECTS = 5000  # about as many as a large batch creates


def tune_garbage_collector() -> None:
    """Exclude all objects that exist now from later collections, once per process, and collect less often.

    Modules, classes and schemas are some hundred thousand objects that never become garbage, and every full collection
    would scan them. The events of a batch are enough to cause full collections, and are not garbage until they are
    written. Source: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    young, *older = gc.get_threshold()
    if young != YOUNG_OBJECTS:  # to count the frozen objects would take longer than to freeze them
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, *older)
