"""The last layers of stacked networks, with their gradient written by hand."""

import pytest

torch = pytest.importorskip("torch")

from skdidicm_torch.fused import Buffers, FusedOutput, plain_output  # noqa: E402

B, N, M, WIDTH, K = 3, 5, 4, 6, 2


@pytest.mark.parametrize("shared", [True, False])
def test_output_and_gradient_are_those_of_autograd(shared):
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n_conditions = M if shared else 7
    place = None if shared else torch.randint(0, 7, (B, N, M), generator=generator)
    inputs = [
        drawn(B, N, WIDTH),
        drawn(B, n_conditions, WIDTH),
        *(drawn(B, WIDTH) for _ in range(2)),
        drawn(B, K, WIDTH),
    ]
    slope, buffers, found = drawn(B, N, M, K), Buffers(), []
    for fused in (True, False, True):  # the third time with buffers that are in use
        leaves = [value.clone().requires_grad_() for value in inputs]
        h, shift, *rest = leaves
        if fused:
            output = FusedOutput.apply(h, shift, place, *rest, buffers)
        else:
            output = plain_output(h, shift, place, *rest)
        found.append([output, *torch.autograd.grad(output, leaves, slope)])
    for result in (found[0], found[2]):
        for value, expected in zip(result, found[1], strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
