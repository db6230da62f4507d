"""Chat models.

On a CPU torch's matrix library keeps the compiled kernels of the last 1,024 shapes, twice. Batches of text hardly ever have the same shape again, so
that such a cache only grows, by about a gigabyte a night; 64 are as fast. It is read when torch first multiplies, which is after this.
"""

import os

for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "64")
