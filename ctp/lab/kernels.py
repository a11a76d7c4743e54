"""Whose kernel is whose. What is somebody else's does not exist.

Invariants:
1. A kernel belongs to the person whose request started it; only that person reaches, lists or ends it and its sessions.
2. A kernel is told where the gateway is and which file holds its person's token; nothing else is added to its environment.
3. Terminals are refused: what they run would have no owner here, and a kernel can do the same.
"""

from __future__ import annotations

import os
from typing import Any

from jupyter_server import CallContext
from jupyter_server.auth.authorizer import Authorizer
from jupyter_server.services.sessions.sessionmanager import SessionManager
from tornado.web import HTTPError

from ctp.api_client import LAB_TOKEN_FILE
from ctp.lab.background_kernels import BackgroundKernels
from ctp.lab.guests import everybody
from ctp.lab.identity import CtpUser

_REFUSED = ("terminals", "server")  # shutting the server down is its operator's, not one guest's


def asking() -> CtpUser | None:
    """Return who the request of now comes from; None outside a request."""
    handler = CallContext.get(CallContext.JUPYTER_HANDLER)
    user = getattr(handler, "current_user", None)
    return user if isinstance(user, CtpUser) else None


class OwnedKernels(BackgroundKernels):
    """Kernels with owners."""

    def __init__(self, **arguments: Any) -> None:
        """Begin with none, and hear of people who may not return."""
        super().__init__(**arguments)
        self.owners: dict[str, int] = {}  # kernel -> person
        guests = everybody()
        guests.owners = lambda: set(self.owners.values())
        guests.on_banned = self.end_kernels_of

    async def _async_start_kernel(self, *, kernel_id: str | None = None, path: Any = None, **arguments: Any) -> str:
        """Start a kernel for whoever asks."""
        user = asking()
        if user is None:
            raise HTTPError(403, "only people start kernels")
        if kernel_id is not None and kernel_id in self and self.owners.get(kernel_id) != user.user_id:
            raise HTTPError(404, "Kernel does not exist")
        voice = everybody().voice(user.user_id)
        arguments["env"] = {**(arguments.get("env") or os.environ), LAB_TOKEN_FILE: str(voice)}
        kernel_id = kernel_id or self.new_kernel_id()
        self.owners[kernel_id] = user.user_id  # first: nobody else may reach it while it starts
        try:
            return await super()._async_start_kernel(kernel_id=kernel_id, path=path, **arguments)
        except BaseException:
            self.owners.pop(kernel_id, None)
            raise

    start_kernel = _async_start_kernel

    def list_kernels(self) -> list[dict[str, Any]]:
        """Return the kernels of whoever asks."""
        user = asking()
        return [one for one in super().list_kernels() if user is None or self.is_own(user, one["id"])]

    def remove_kernel(self, kernel_id: str) -> Any:
        """Forget a kernel that has ended."""
        self.owners.pop(kernel_id, None)
        return super().remove_kernel(kernel_id)

    def is_own(self, user: CtpUser, kernel_id: str) -> bool:
        """Tell whether a kernel is this person's."""
        return self.owners.get(kernel_id) == user.user_id

    async def end_kernels_of(self, user_id: int) -> None:
        """End every kernel of a person."""
        for kernel_id in [each for each, owner in self.owners.items() if owner == user_id]:
            if kernel_id in self:
                await self.shutdown_kernel(kernel_id, now=True)


class OwnSessions(SessionManager):
    """Notebooks that are open, listed for those whose kernels they use."""

    async def list_sessions(self) -> list[dict[str, Any]]:
        """Return the open notebooks of whoever asks."""
        user, kernels = asking(), self.kernel_manager
        every = await super().list_sessions()
        return [one for one in every if user is None or kernels.is_own(user, one["kernel"]["id"])]


class OwnerAuthorizer(Authorizer):
    """Answer 404 for what belongs to somebody else."""

    async def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        """Tell whether somebody may."""
        if resource in _REFUSED or not isinstance(user, CtpUser):
            return False
        kernel_id = handler.path_kwargs.get("kernel_id")
        session_id = handler.path_kwargs.get("session_id")
        if resource == "sessions" and session_id:
            session = await handler.session_manager.get_session(session_id=session_id)
            kernel_id = session["kernel"]["id"]
        if kernel_id and not handler.kernel_manager.is_own(user, kernel_id):
            raise HTTPError(404, "Kernel does not exist")
        return True
