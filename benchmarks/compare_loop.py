"""`python -m benchmarks.compare_loop URL`: reads an inventory and our files together, and counts the differences."""

import json
import os
import sys
import time
from uuid import UUID

import asyncpg
import httpx
import uvloop

PAGE_ITEMS = 1000
FILES = """
    SELECT files.file_id, (metadata->>'size')::bigint FROM files JOIN sync_events ON position = last_position
     WHERE last_event_type <> 'delete' AND files.file_id > $1 AND files.file_id <= $2
"""
FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)


async def main(url: str) -> None:
    """Compare, and print the counts and the seconds that it took."""
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    async with httpx.AsyncClient(trust_env=False) as client:
        started, used = time.perf_counter(), time.process_time()
        files, differences, after = 0, 0, FIRST
        while after != LAST:
            page = json.loads((await client.get(f"{url}/inventory?after={after}&limit={PAGE_ITEMS}")).content)
            until = UUID(page["next"]) if page["next"] else LAST
            theirs = {(UUID(item["file_id"]), item["size"]) for item in page["items"]}
            ours = {(file_id, size) for file_id, size in await connection.fetch(FILES, after, until)}
            files, differences, after = files + len(theirs), differences + len(ours ^ theirs), until
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - used
    await connection.close()
    print(json.dumps({"files": files, "differences": differences, "seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
