"""Kernels that stay behind live money, each being a session of its own."""

from __future__ import annotations

from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

from ctp.lab.background import lower_group


class BackgroundKernels(AsyncMappingKernelManager):
    """Kernels that stay behind live money."""

    async def _async_start_kernel(self, *, kernel_id: str | None = None, path: Any = None, **arguments: Any) -> str:
        """Start a kernel and lower its group."""
        started: str = await super()._async_start_kernel(kernel_id=kernel_id, path=path, **arguments)
        process = getattr(self.get_kernel(started).provisioner, "pid", None)
        if process:
            lower_group(process)
        return started

    start_kernel = _async_start_kernel  # type: ignore[assignment]
