"""The chips, as XLA wants them described to compile for one that is not there."""

from __future__ import annotations

from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

# bytes per second and bytes of memory, XLA's name, clock of the memory in kHz
CHIPS = {
    "h100": (3352320000000, 84942979072, "NVIDIA H100 80GB HBM3", 2619000),
    "h200": (4800000000000, 151397597184, "NVIDIA H200 141GB HBM3e", 3750000),
}
# XLA's number of a type, units per core, operations per clock
SCALAR = ((4, 64, 1), (8, 64, 1), (10, 128, 2), (11, 128, 1), (12, 64, 1), (16, 128, 2))
MATRIX = ((10, 4, 512), (11, 4, 256), (12, 4, 32), (16, 4, 512))


def sharding(name: str) -> SingleDeviceSharding:
    """One such chip, for the shapes of arguments."""
    topology = topologies.get_topology_desc(platform="cuda", target_config=_described(name), topology="1x1x1")
    return SingleDeviceSharding(topology.devices[0])


def _rates(units) -> str:
    return "".join(
        f"rate_infos {{ key: {kind} value {{ clock_rate_ghz: 1.98 units_per_core: {n} ops_per_clock: {ops} }} }} "
        for kind, n, ops in units
    )


def _described(name: str) -> str:
    bandwidth, memory, label, clock = CHIPS[name]
    return f"""gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: {memory}
  shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  scalar_unit_description {{ {_rates(SCALAR)} }} matrix_unit_description {{ {_rates(MATRIX)} }}
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  device_vendor: "NVIDIA Corporation" platform_version: "Compute Capability 9.0a"
  model_str: "sm_9.0a with {memory}B RAM, 132 cores, 1980000KHz clock, {clock}KHz mem clock, 52428800B L2$"
  device_address_bits: 64 pcie_bandwidth: 34359738368 ecc_enabled: true name: "{label}"
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0" dnn_version: "9.12.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 12 patch: 0 }}
device_description_str: "{label}"
"""
