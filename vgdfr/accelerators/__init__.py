"""The built-in accelerators: feature caches, behind the interface in `vgdfr.accelerator`."""

from vgdfr.accelerator import Accelerator
from vgdfr.accelerators.fastercache import FasterCache
from vgdfr.accelerators.first_block_cache import FirstBlockCache
from vgdfr.accelerators.magcache import MagCache
from vgdfr.accelerators.pab import PyramidAttentionBroadcast
from vgdfr.accelerators.seacache import SeaCache
from vgdfr.accelerators.taylorseer import TaylorSeer
from vgdfr.accelerators.teacache import TeaCache

BUILT_IN: dict[str, type[Accelerator]] = {
    kind.__name__.lower(): kind
    for kind in (FirstBlockCache, TeaCache, MagCache, TaylorSeer, SeaCache, PyramidAttentionBroadcast, FasterCache)
}
"""The built-in accelerators by their name in a record."""
