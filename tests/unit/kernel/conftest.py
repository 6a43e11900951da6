"""What the tests of the kernel share: kernels that are closed after the test."""

from collections.abc import Callable, Iterator

import pytest

from simkit.kernel import Decisions, Kernel

MakeKernel = Callable[..., Kernel]


@pytest.fixture
def make_kernel() -> Iterator[MakeKernel]:
    """Makes kernels; keywords go to the constructor, `seed` to the decisions."""
    made: list[Kernel] = []

    def make(seed: int = 0, **keywords: object) -> Kernel:
        kernel = Kernel(Decisions(seed), **keywords)  # type: ignore[arg-type]
        made.append(kernel)
        return kernel

    yield make
    for kernel in made:
        kernel.close()
        assert kernel.tasks == []


@pytest.fixture
def kernel(make_kernel: MakeKernel) -> Kernel:
    return make_kernel()
