"""The 13B model for the tests of this folder, made once per file."""

import pytest
from large_model import large_backbone

from vgdfr.backbones.hunyuan_backbone import HunyuanVideoBackbone


@pytest.fixture(scope="module")
def backbone() -> HunyuanVideoBackbone:
    return large_backbone()
