"""A training step of DiDiRN-50 at K = 1000 on a GPU: time, share of peak, memory, and what of it
is not the network; and loss and sampler step against their dense matrix forms.

Without a GPU it times a small network on the CPU, for the share outside the network alone.
"""

import time

import torch
from skdidicm_torch.imagenet.data import Synthetic
from skdidicm_torch.imagenet.engine import Engine
from skdidicm_torch.imagenet.processes import TorchCommunicator
from skdidicm_torch.imagenet.step import draw_noise, generator, score_entropy_loss
from torch.utils.flop_counter import FlopCounterMode

from skdidicm.core import LogLinear, UniformProcess
from skdidicm.imagenet.recipes import resolve
from tests.benchmarks.timing import Row

K = 1000
PEAK_BF16 = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense FLOP/s, of the data sheets
GPU_CASES = ((56, 256), (224, 128))


def rows():
    """Yield the table; on a CPU one small case."""
    if torch.cuda.is_available():
        device, model, cases, compiles = "cuda", "didirn50", GPU_CASES, (False, True)
    else:
        device, model, cases, compiles = "cpu", "didirn18", ((56, 16),), (False,)
    for compiled in compiles:
        for resolution, batch in cases:
            yield from step_rows(device, model, resolution, batch, compiled=compiled)
    yield from dense_rows(torch.device(device), 128 if device == "cuda" else 8)


def step_rows(device, model, resolution, batch, *, compiled):
    """Yield seconds, share of peak, memory and share outside the network of a training step."""
    name = f"{model}, {resolution} px, batch {batch}{', compiled' if compiled else ''}"
    engine, images = new_engine(device, model, resolution, batch, compiled=compiled)
    memory = peak_memory(engine.comm.device, lambda: engine.train_update([images]))
    seconds = time_of(engine.comm.device, lambda: engine.train_update([images]))
    outside = outside_seconds(engine, images)
    yield Row(f"{name}: images/s", batch / seconds, "-")
    yield Row(f"{name}: ms a step", 1e3 * seconds, "-")
    yield Row(f"{name}: peak memory, GiB", memory, "-")
    peak = next((v for k, v in PEAK_BF16.items() if k in gpu_name()), None)
    if peak:
        yield Row(f"{name}: share of peak FLOP/s", flops(engine, images) / seconds / peak, "-")
    yield Row(f"{name}: % outside network and optimiser", 100 * outside / seconds, "< 2")


def new_engine(device, model, resolution, batch, *, compiled=False, **more):
    """Return an engine and a batch of random pixels on its device."""
    flags = {"data": "synthetic", "model": model, "resolution": resolution, "batch_size": batch}
    flags |= {"global_batch": batch, "compile": compiled} | more
    config = resolve(flags).config
    place = TorchCommunicator(0, 1, torch.device(device))
    images = Synthetic(config, K, place).batch
    return Engine(config, K, place, per_epoch=100), images


def outside_seconds(engine, images):
    """Return the seconds of what surrounds the network: pixels, labels, noise, and the loss."""
    config, n = engine.config, len(images.labels)
    output = torch.zeros(n, 1, K, device=engine.comm.device, requires_grad=True)

    def around():
        x = engine.prepare(images.pixels)
        rng = generator(x.device, config.seed, 1)
        _, q_0 = engine._mix(x, images.labels)
        noise = draw_noise(
            q_0, engine.process, engine.schedule, n_draws=1, eps_t=config.eps_t, rng=rng
        )
        score_entropy_loss(output, noise, q_0, engine.process).backward()

    return time_of(engine.comm.device, around)


def flops(engine, images):
    """Return the floating-point operations of a step's forward and backward pass."""
    plain, images_x = engine.module, engine.prepare(images.pixels)
    label = images.labels[:, None]
    with FlopCounterMode(display=False) as counter:
        plain(images_x, label, label.float()).sum().backward()
    plain.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def dense_rows(device, n):
    """Yield ratios of time and memory of the dense K x K forms over ours."""
    q_0 = torch.softmax(torch.randn(n, K, device=device), dim=1)
    p = torch.softmax(torch.randn(n, K, device=device), dim=1)
    process, schedule = UniformProcess(K), LogLinear()
    rng = generator(device, 0)
    identity = torch.eye(K, dtype=torch.float64, device=device)
    rates = torch.full_like(identity, 1 / K) - identity
    values, vectors = torch.linalg.eigh(rates)
    t = torch.full((n,), 0.5, device=device)

    def our_noise():
        draw_noise(q_0, process, schedule, n_draws=1, eps_t=1e-5, rng=rng)

    def dense_noise():
        repeated = vectors.expand(n, K, K).contiguous()
        damping = torch.exp(schedule.total(t).double()[:, None] * values)
        modes = torch.bmm(repeated.mT, q_0.double()[..., None])[..., 0] * damping
        torch.bmm(repeated, modes[..., None])[..., 0].float().multinomial(1)

    def our_step():
        process.euler_step(p, q_0, 0.1)

    def dense_step():
        score = q_0[:, :, None] / q_0[:, None, :]
        reverse = score * rates.float()
        reverse = reverse - torch.diag_embed(reverse.sum(dim=1))
        p + 0.1 * torch.bmm(reverse, p[..., None])[..., 0]

    for what, ours, dense in (
        ("noise for soft labels", our_noise, dense_noise),
        ("sampler step", our_step, dense_step),
    ):
        speed = time_of(device, dense, 5) / time_of(device, ours)
        yield Row(f"{what}, K = {K}, batch {n}: dense time over ours", speed, "> 1")
        if device.type == "cuda":
            memory = peak_memory(device, dense) / max(peak_memory(device, ours), 1e-6)
            yield Row(f"{what}, K = {K}, batch {n}: dense memory over ours", memory, "> 1")


def time_of(device, call, times=None):
    """Return the median seconds of a call, after warming up."""
    for _ in range(3):
        call()
    found = []
    for _ in range(times or (30 if device.type == "cuda" else 5)):
        wait(device)
        start = time.perf_counter()
        call()
        wait(device)
        found.append(time.perf_counter() - start)
    return sorted(found)[len(found) // 2]


def peak_memory(device, call):
    """Return the GiB that a call takes beyond what is held, 0 on a CPU."""
    call()
    if device.type != "cuda":
        return 0.0
    wait(device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    wait(device)
    return (torch.cuda.max_memory_allocated() - before) / 2**30


def wait(device):
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def gpu_name():
    """Return the name of the GPU, or nothing."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""
