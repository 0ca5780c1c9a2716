"""Python's side: reads the jobs from standard input, writes how long the parts took to standard output."""

import json
import sys
import time
from multiprocessing import Pool

from PIL import Image


def whole(job):
    """Decodes all of the picture and averages, as the Rust rows do."""
    with Image.open(job["from"]) as picture:
        picture.load()
        picture.thumbnail((job["side"], job["side"]), Image.Resampling.BOX, reducing_gap=None)
        picture.save(job["to"], "JPEG", quality=75)


def draft(job):
    """What one would write: libjpeg decodes no more than the size needs."""
    with Image.open(job["from"]) as picture:
        picture.thumbnail((job["side"], job["side"]))
        picture.save(job["to"], "JPEG", quality=75)


def main():
    order = json.load(sys.stdin)
    begin = time.perf_counter()
    pool = Pool(order["workers"])
    started = time.perf_counter()
    pool.map({"whole": whole, "draft": draft}[order["decode"]], order["jobs"])
    done = time.perf_counter()
    pool.close()
    pool.join()
    ended = time.perf_counter()
    json.dump({"start": started - begin, "work": done - started, "end": ended - done}, sys.stdout)


if __name__ == "__main__":
    main()
