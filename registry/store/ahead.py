"""Ordered parallel map with a bounded number of items in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ordered"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int = 2,
    ahead: int = 4,
    leave: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Yield function(item) for each item, in order, with up to ahead items in flight.

    Items are pulled in the caller's thread as results are consumed, so a source need not be thread-safe and memory is
    bounded by ahead items. Hashing and file or socket calls release the GIL, so threads help.

    Args:
        function: Called in worker threads.
        items: Source; if it raises, the results before that item are yielded first, then its error is raised.
        workers: Number of threads.
        ahead: Most items in flight, at least one.
        leave: Called at the end, or when the caller stops early, before the threads are joined, to cancel calls in
            flight.
    """
    under_way: deque[Future[Result]] = deque()
    failure: Exception | None = None
    pool = ThreadPoolExecutor(workers, thread_name_prefix="cairn-store")
    try:
        source = iter(items)
        while failure is None:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 (raised below, after what came before it)
                failure = error
                break
            under_way.append(pool.submit(function, item))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
        if failure is not None:
            raise failure
    finally:
        if leave is not None:
            leave()
        pool.shutdown(wait=True, cancel_futures=True)
